"""Opening WebSockets inside WSGI requests, on every server that lends its socket (PEP 3333)."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

from geventws.core.deflate_negotiation import enable_server_permessage_deflate
from geventws.core.environ import parse_environ
from geventws.core.exceptions import InvalidHandshake, InvalidUpgrade
from geventws.core.extensions import Extension, ServerExtensionFactory
from geventws.core.grammar import check_upgrade
from geventws.core.headers import Headers, HeadersLike
from geventws.core.http11 import Request, Response
from geventws.core.server_handshake import ServerHandshake, log_label
from geventws.core.states import Side
from geventws.hosts import Host, find_host
from geventws.net.hubs import get_hub_state
from geventws.net.logs import LoggerLike
from geventws.net.mounted import MountedConnection, end_forgotten
from geventws.net.options import ConnectionOptions, check_compression
from geventws.net.server_connection import CRASHES
from geventws.net.server_opening import SelectSubprotocol

__all__ = ["ANSWERED", "HookFailed", "Mount", "StartResponse"]

StartResponse = Callable[..., Any]

ANSWERED = (
    "accept() was called before in this request, which has one answer only; use the connection "
    "that it returned"
)

# What a request's environ gets when it is answered.
MARK = "geventws.answered"

LOST_UPGRADE = (
    "the request has Sec-WebSocket-Key, so a proxy on the way has taken the Upgrade or Connection "
    "header away; let it speak HTTP/1.1 and pass both on (nginx: proxy_http_version 1.1; "
    "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;)"
)


class HookFailed(InvalidHandshake):
    """A function of the application failed in the opening handshake; its error is the cause."""


class Mount:
    """Opens WebSockets inside WSGI requests, all with the same options; see `accept`."""

    def __init__(
        self,
        *,
        origins: Sequence[str | re.Pattern[str] | None] | None = None,
        extensions: Sequence[ServerExtensionFactory] | None = None,
        subprotocols: Sequence[str] | None = None,
        select_subprotocol: SelectSubprotocol | None = None,
        compression: str | None = "deflate",
        compress_threshold: int = 0,
        additional_headers: HeadersLike = (),
        ping_interval: float | None = 20,
        ping_timeout: float | None = 20,
        close_timeout: float | None = 10,
        max_size: int | None | tuple[int | None, int | None] = ConnectionOptions.max_size,
        max_fragments: int | None = ConnectionOptions.max_fragments,
        max_queue: int | None | tuple[int | None, int | None] = ConnectionOptions.max_queue,
        write_limit: int | tuple[int, int] = ConnectionOptions.write_limit,
        logger: LoggerLike | None = None,
        create_connection: Callable[..., MountedConnection] = MountedConnection,
    ) -> None:
        self.logger: LoggerLike = logger or logging.getLogger("geventws.server")
        self._options = ConnectionOptions(
            ping_interval,
            ping_timeout,
            close_timeout,
            max_size,
            max_fragments,
            max_queue,
            write_limit,
        )
        if check_compression(compression):
            extensions = enable_server_permessage_deflate(extensions, threshold=compress_threshold)
        self._handshake = ServerHandshake(
            origins=origins, extensions=extensions, subprotocols=subprotocols
        )
        self._select_subprotocol = select_subprotocol
        self._headers = Headers(additional_headers)
        self.create_connection = create_connection

    def accept(
        self, environ: dict[str, Any], start_response: StartResponse, scoped: bool = True
    ) -> MountedConnection:
        """Open a WebSocket inside a request; arguments as for `connect` and `open`.

        Raises:
            RuntimeError: it was called before.
        """
        if MARK in environ:
            raise RuntimeError(ANSWERED)
        ws, host = self.connect(environ, start_response, scoped=scoped)
        environ[MARK] = True
        self.open(ws, host)
        return ws

    def connect(
        self,
        environ: dict[str, Any],
        start_response: StartResponse,
        create_connection: Callable[..., MountedConnection] | None = None,
        scoped: bool = True,
    ) -> tuple[MountedConnection, Host]:
        """Make a connection that is not open yet; `open` must follow.

        Args:
            environ: the request's environ.
            start_response: the server's.
            create_connection: makes the connection, instead of the one of the options.
            scoped: whether the caller sees to it that the connection has ended before the
                application returns to the server. Otherwise it costs a second descriptor.

        Raises:
            UnsupportedServer: the WSGI server does not let applications have its socket.
        """
        host = find_host(environ, start_response)
        state = get_hub_state()
        end_forgotten(state)
        transport = None
        try:
            transport = host.make_transport(scoped)
            make = create_connection or self.create_connection
            ws: MountedConnection = self._options.make(
                make, transport, Side.SERVER, state, self.logger
            )
        except BaseException:
            if transport is not None:
                transport.abandon()
            state.release()
            raise
        ws.environ = environ
        return ws, host

    def open(self, ws: MountedConnection, host: Host) -> None:
        """Do the opening handshake through the server, and take its socket over.

        A client that is gone already makes no difference but that the connection is closed.

        Raises:
            InvalidHandshake: the request was refused, with a response that says why.
        """
        gone = None
        try:
            response, extensions, subprotocol = self._negotiate(ws)
            try:
                host.respond(response)
            except OSError as exc:
                gone = exc.with_traceback(None)
            early = host.take_over()
        except InvalidHandshake as exc:
            self._refuse(ws, host, exc)
            raise
        except BaseException:
            ws._discard()
            raise
        try:
            ws._open_mounted(response, extensions, subprotocol, early)
            if not ws._knows_its_end:
                host.when_done(ws._return)
            if gone is not None:
                ws._forget(gone)
        except BaseException:
            # A kill, in a log handler that waits: nobody else knows the connection yet.
            ws._leave()
            raise

    def _negotiate(self, ws: MountedConnection) -> tuple[Response, list[Extension], str | None]:
        """Check the request and make the response that accepts it."""
        request = parse_environ(ws.environ)
        ws._note_request("<", request)
        _check_upgrade(request)
        select = self._select_subprotocol
        try:
            headers, extensions, subprotocol = self._handshake.process_request(
                request, None if select is None else lambda offered: select(ws, offered)
            )
        except InvalidHandshake:
            raise
        except CRASHES as exc:
            ws._protocol.journal.line(logging.ERROR, "opening handshake failed", exc=exc)
            raise HookFailed("select_subprotocol failed") from exc
        headers.update(self._headers)
        return Response(101, "Switching Protocols", headers), extensions, subprotocol

    def _refuse(self, ws: MountedConnection, host: Host, exc: InvalidHandshake) -> None:
        """Answer a request that opens no WebSocket."""
        # The client is told of its own mistakes, not of ours.
        reason = RuntimeError() if isinstance(exc, HookFailed) else exc
        response = self._handshake.refuse(reason, date="", server_header=None)
        # The server has its own.
        del response.headers["Date"]
        ws._protocol.journal.debug_line(f"! {log_label(exc)}", exc=exc)
        try:
            host.end_request()
            host.respond(response)
        finally:
            ws._reject_mounted(response)


def _check_upgrade(request: Request) -> None:
    """Check that the request asks for a WebSocket; say so if a proxy made it forget that."""
    try:
        check_upgrade(request.headers)
    except InvalidUpgrade as exc:
        if "Sec-WebSocket-Key" in request.headers:
            raise exc from InvalidHandshake(LOST_UPGRADE)
        raise
