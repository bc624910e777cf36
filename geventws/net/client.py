"""Clients: `connect`, `unix_connect`, and the client's end of a connection."""

from __future__ import annotations

import logging
import os
import ssl as ssl_module
from collections.abc import Callable, Sequence
from typing import Any

import gevent
from gevent import socket

from geventws.core.client_handshake import ClientHandshake
from geventws.core.deflate_negotiation import enable_client_permessage_deflate
from geventws.core.exceptions import InvalidMessage
from geventws.core.extensions import ClientExtensionFactory
from geventws.core.headers import HeadersLike
from geventws.core.http11 import USER_AGENT, Response, ResponseReader
from geventws.core.states import Side
from geventws.core.uri import WebSocketURI, parse_uri
from geventws.net.hubs import get_hub_state
from geventws.net.logs import LoggerLike
from geventws.net.opening import OpeningConnection
from geventws.net.options import ConnectionOptions, check_compression
from geventws.net.syscalls import OwnTransport
from geventws.net.tls import TLSTransport
from geventws.net.transport import Transport, borrow_socket, own_socket, set_nodelay

__all__ = ["ClientConnection", "connect", "unix_connect"]


class ClientConnection(OpeningConnection):
    """A WebSocket connection of a client; made by `geventws.connect`."""

    __slots__ = ()

    def _open(
        self,
        handshake: ClientHandshake,
        additional_headers: HeadersLike | None,
        user_agent_header: str | None,
    ) -> None:
        """Do the opening handshake (RFC 6455, section 4.1).

        Raises:
            InvalidHandshake: the server did not accept.
            OSError: the connection is lost.
        """
        request = handshake.request(additional_headers, user_agent_header)
        data = request.serialize()
        self._request = data
        self._note_request(">", request)
        self._write_head(data)
        self._emit()
        response, reader = self._receive_response()
        self._response = reader.head if response.status_code == 101 else response
        self._note_response("<", response)
        extensions, subprotocol = handshake.process_response(response)
        self._protocol.receive_data(reader.leftover)
        self._protocol.open(extensions, subprotocol)
        self._start()
        self._emit()

    def _open_within(self, stage: Stage, *args: Any) -> None:
        """Do the TLS and the opening handshake, telling the deadline which it is."""
        try:
            stage.doing = "waiting for TLS handshake"
            self._shake_tls()
            stage.doing = "waiting for handshake response"
            self._open(*args)
        except BaseException:
            self._close_opening(linger=False)
            raise

    def _receive_response(self) -> tuple[Response, ResponseReader]:
        reader = ResponseReader()
        response = None
        try:
            while response is None:
                response = reader.receive_data(self._receive_opening())
        except EOFError:
            try:
                response = reader.receive_eof()
            except EOFError as exc:
                raise InvalidMessage("did not receive a valid HTTP response") from exc
        return response, reader


class Stage(gevent.Timeout):
    """The deadline of opening a connection; it knows what is being done.

    Args:
        seconds: the deadline; None never strikes.
    """

    def __init__(self, seconds: float | None) -> None:
        super().__init__(seconds)
        self.doing = "connecting"


def connect(
    uri: str,
    *,
    sock: Any = None,
    ssl: ssl_module.SSLContext | None = None,
    server_hostname: str | None = None,
    origin: str | None = None,
    extensions: Sequence[ClientExtensionFactory] | None = None,
    subprotocols: Sequence[str] | None = None,
    compression: str | None = "deflate",
    compress_threshold: int = 0,
    additional_headers: HeadersLike | None = None,
    user_agent_header: str | None = USER_AGENT,
    open_timeout: float | None = 10,
    ping_interval: float | None = 20,
    ping_timeout: float | None = 20,
    close_timeout: float | None = 10,
    max_size: int | None | tuple[int | None, int | None] = ConnectionOptions.max_size,
    max_fragments: int | None = ConnectionOptions.max_fragments,
    max_queue: int | None | tuple[int | None, int | None] = ConnectionOptions.max_queue,
    write_limit: int | tuple[int, int] = ConnectionOptions.write_limit,
    logger: LoggerLike | None = None,
    create_connection: Callable[..., ClientConnection] | None = None,
    **kwargs: Any,
) -> ClientConnection:
    """Connect to a WebSocket server.

    ::

        with geventws.connect("ws://localhost:8765") as ws:
            ws.send("Hello")
            print(ws.recv())

    The connection may be used with or without ``with``. Without it, call
    `Connection.close`: an open connection is not collected as garbage. At the end of a
    ``with`` block it is closed with code 1000, after an exception with 1011.

    Args:
        uri: ``ws://`` or ``wss://`` URI; ``user:password@`` logs in by HTTP Basic.
        sock: a connected socket to use instead of making one; before TLS. The connection
            closes it.
        ssl: TLS configuration, gevent's or the standard library's; for ``wss://`` the
            system's certificates are trusted by default.
        server_hostname: whom the certificate must name, the URI's host by default.
        origin: value of the ``Origin`` header.
        extensions: extensions to offer beside compression, the preferred first.
        subprotocols: subprotocols to offer, the preferred first.
        compression: "deflate" offers ``permessage-deflate``; None does not.
        compress_threshold: bytes below which messages are sent uncompressed.
        additional_headers: headers to add to the request.
        user_agent_header: value of the ``User-Agent`` header; None leaves it out.
        open_timeout: seconds for all of it: DNS, TCP, TLS, and the opening handshake; None
            waits for ever.
        ping_interval: seconds between pings that keep the connection alive; None sends none.
        ping_timeout: seconds to wait for a pong before closing with 1011; None waits for
            ever.
        close_timeout: seconds to wait for the peer in the closing handshake.
        max_size: largest message in bytes; a pair limits messages and fragments; None is no
            limit.
        max_fragments: most fragments of a message.
        max_queue: received frames that may wait to be read before reading pauses; a pair
            gives high and low.
        write_limit: bytes that may wait to be written before `send` waits; a pair gives high
            and low.
        logger: where to log, `logging.getLogger("geventws.client")` by default.
        create_connection: makes the connection: a subclass of `ClientConnection`, or a
            function with the same arguments.
        kwargs: for `gevent.socket.create_connection`: ``source_address``, ``all_errors``; and
            ``address``, a pair of host and port to connect to instead of the URI's.

    Raises:
        InvalidURI: the URI is not valid.
        InvalidHandshake: the server did not accept.
        TimeoutError: it took longer than ``open_timeout``.
        OSError: DNS, TCP, or TLS failed.
        ValueError: arguments contradict each other.
    """
    ws_uri = parse_uri(uri)
    if ssl is not None and not ws_uri.secure:
        raise ValueError("ssl argument is incompatible with a ws:// URI; use wss://")
    options = ConnectionOptions(
        ping_interval, ping_timeout, close_timeout, max_size, max_fragments, max_queue, write_limit
    )
    if check_compression(compression):
        extensions = enable_client_permessage_deflate(extensions, threshold=compress_threshold)
    handshake = ClientHandshake(
        ws_uri, origin=origin, extensions=extensions, subprotocols=subprotocols
    )
    logger = logger or logging.getLogger("geventws.client")
    # Before anything else makes this thread's hub: who makes it destroys it.
    state = get_hub_state()
    try:
        with Stage(open_timeout) as stage:
            ws = _make_connection(
                _open_transport(ws_uri, sock, **kwargs),
                _tls_settings(ws_uri, ssl, server_hostname),
                options,
                create_connection or ClientConnection,
                logger,
            )
            ws._open_within(stage, handshake, additional_headers, user_agent_header)
            return ws
    except Stage as exc:
        state.release()
        if exc is not stage:
            raise
        raise TimeoutError(f"timed out while {stage.doing}") from None
    except BaseException:
        state.release()
        raise


def _open_transport(
    uri: WebSocketURI,
    sock: Any = None,
    *,
    address: tuple[str, int] | str | bytes | None = None,
    **kwargs: Any,
) -> Transport:
    """Return bytes over a socket: the one given, or one connected to an address."""
    if sock is not None:
        if address is not None or kwargs:
            names = ", ".join(["address"] * (address is not None) + list(kwargs))
            raise ValueError(f"{names} incompatible with sock, which is connected already")
        return Transport(borrow_socket(sock))
    if isinstance(address, (str, bytes)):
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
    else:
        sock = socket.create_connection(address or (uri.host, uri.port), **kwargs)
    bare = own_socket(sock)
    set_nodelay(bare)
    return OwnTransport(bare)


def _tls_settings(
    uri: WebSocketURI, context: ssl_module.SSLContext | None, hostname: str | None
) -> tuple[ssl_module.SSLContext, str] | None:
    """Return the TLS configuration and whom the certificate must name; None without TLS."""
    if not uri.secure:
        return None
    return context or ssl_module.create_default_context(), hostname or uri.host


def _make_connection(
    transport: Transport,
    tls: tuple[ssl_module.SSLContext, str] | None,
    options: ConnectionOptions,
    create_connection: Callable[..., ClientConnection],
    logger: LoggerLike,
) -> ClientConnection:
    try:
        remote_address = transport.sock.getpeername()
        if tls is not None:
            context, hostname = tls
            transport = TLSTransport(transport.sock, context, False, hostname)
        ws: ClientConnection = options.make(
            create_connection,
            transport,
            Side.CLIENT,
            get_hub_state(),
            logger,
        )
    except BaseException:
        transport.close()
        raise
    ws._remote_address = remote_address
    return ws


def unix_connect(
    path: str | bytes | os.PathLike[str] | None = None,
    uri: str | None = None,
    **kwargs: Any,
) -> ClientConnection:
    """Connect to a WebSocket server on a Unix socket.

    Args:
        path: the socket's path.
        uri: URI for the opening handshake, ``ws://localhost/`` by default, with ``ssl``
            ``wss://localhost/``.
        kwargs: as for `connect`.
    """
    if (path is None) is (kwargs.get("sock") is None):
        raise ValueError("unix_connect() needs a path, or a connected socket as sock")
    if uri is None:
        uri = "ws://localhost/" if kwargs.get("ssl") is None else "wss://localhost/"
    if path is not None:
        kwargs["address"] = os.fspath(path)
    return connect(uri, **kwargs)
