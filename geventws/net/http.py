"""HTTP beside WebSocket: gevent's pywsgi answers requests on connections of our own."""

from __future__ import annotations

import errno
import io
import logging
import time
from collections.abc import Callable
from typing import Any, cast

from gevent import GreenletExit
from gevent.pywsgi import LoggingLogAdapter, WSGIHandler, WSGISecureEnviron, WSGIServer

from geventws.core.exceptions import InvalidHandshake
from geventws.core.grammar import check_upgrade
from geventws.core.headers import Headers
from geventws.core.http11 import Request
from geventws.core.states import State
from geventws.net.logs import LoggerLike
from geventws.net.server_connection import ServerConnection

__all__ = ["WSGIGateway"]


class WSGIGateway:
    """Answers the requests that ask for no WebSocket by a WSGI application.

    It is what pywsgi's handlers have instead of their server, too.

    Args:
        application: the WSGI application.
        address: where the server listens.
        secure: whether it speaks TLS.
        idle_timeout: seconds to wait for another request on the same connection.
        logger: where lines go.
    """

    # What `WSGIHandler` shows of a request in an error.
    secure_environ_class = WSGISecureEnviron

    def __init__(
        self,
        application: Callable[..., Any],
        address: Any,
        *,
        secure: bool,
        idle_timeout: float | None,
        logger: LoggerLike,
    ) -> None:
        self.application = application
        self.idle_timeout = idle_timeout
        # Unix sockets have a path, which is no name for a server.
        name, port = address[:2] if isinstance(address, tuple) else ("", "")
        self._environ = {
            **WSGIServer.base_env,
            "SERVER_NAME": name,
            "SERVER_PORT": str(port),
            "wsgi.url_scheme": "https" if secure else "http",
            # Whoever has `log` will do.
            "wsgi.errors": LoggingLogAdapter(cast(logging.Logger, logger), logging.ERROR),
        }

    def get_environ(self) -> dict[str, Any]:
        """Return what the environs of all requests have in common."""
        return dict(self._environ)

    def request(self, head: bytes) -> Request | None:
        """Return the request of a head; None if it asks for a WebSocket, or is not valid."""
        try:
            request = Request.parse(head, body=True)
        except InvalidHandshake:
            return None
        return None if _asks_for_websocket(request.headers) else request

    def exchange(self, ws: ServerConnection, early: bytes) -> bytes | None:
        """Answer a request.

        Args:
            ws: the connection it came by.
            early: what arrived already, from the request's first byte on.

        Returns:
            What arrived behind the request; None if no other request may follow.
        """
        stream = RequestStream(ws, early)
        more = RequestHandler(ws, stream, self).answer()
        return stream.rest() if more and not ws.server.closing else None


def _asks_for_websocket(headers: Headers) -> bool:
    """Whether a request asks for a WebSocket, correctly or not.

    A proxy that drops ``Connection`` and ``Upgrade`` does not know the other headers.
    """
    try:
        check_upgrade(headers)
    except InvalidHandshake:
        return "Sec-WebSocket-Key" in headers
    return True


class RequestStream(io.RawIOBase):
    """The bytes of a connection, as pywsgi reads and writes them: a socket, and its file.

    Args:
        ws: the connection.
        early: what arrived already.
    """

    def __init__(self, ws: ServerConnection, early: bytes) -> None:
        self.ws = ws
        self._early = memoryview(early)
        self._reader: io.BufferedReader | None = None
        # Whether reading waits for what has not arrived.
        self._waits = True
        # Whether the peer's stream ended.
        self.ended = False

    @property
    def _sock(self) -> Any:
        """The socket, where those look for it who know pywsgi."""
        return self.ws._transport.sock

    def makefile(self, mode: str, size: int) -> io.BufferedReader:
        """Return the file that requests are read from."""
        self._reader = io.BufferedReader(self)
        return self._reader

    def readable(self) -> bool:
        """Return whether it can be read from."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read into a buffer; return how much, 0 at the end, None where that means to wait."""
        if not self._early:
            if not self._waits:
                return None
            if self.ws.state is State.CLOSED:
                raise self._broken_pipe()
            try:
                self._early = memoryview(self.ws._receive_opening())
            except EOFError:
                self.ended = True
                return 0
        size = min(len(buffer), len(self._early))
        buffer[:size] = self._early[:size]
        self._early = self._early[size:]
        return size

    def rest(self) -> bytes:
        """Return what arrived and was not read."""
        self._waits = False
        assert self._reader is not None
        return self._reader.read() or b""

    def sendall(self, data: Any) -> None:
        """Write, and wait until the kernel has taken it.

        Raises:
            OSError: the connection is lost.
        """
        ws = self.ws
        if ws.state is not State.CLOSED and not ws._broken:
            ws._write_head(data)
            while ws._queued or ws._transport.unsent:
                ws._wait_for_turn()
        if ws.state is State.CLOSED or ws._broken:
            raise self._broken_pipe() from ws._cause

    def _broken_pipe(self) -> OSError:
        return BrokenPipeError(errno.EPIPE, "the connection is closed")

    def __repr__(self) -> str:
        return repr(self.ws)


class RequestHandler(WSGIHandler):
    """Answers one request.

    Args:
        ws: the connection it came by.
        stream: the connection's bytes.
        gateway: has the application.
    """

    def __init__(self, ws: ServerConnection, stream: Any, gateway: Any) -> None:
        super().__init__(stream, ws.remote_address, gateway)
        self.ws = ws
        self._stream = stream

    def answer(self) -> bool:
        """Answer the request; return whether another may follow."""
        self.time_start = time.time()
        result = self.handle_one_request()
        if isinstance(result, tuple):
            # The request was no valid one, though its head was.
            self.status, response = result
            try:
                self.socket.sendall(response)
            except OSError:
                return False
            self.time_finish = time.time()
            self.log_request()
        return result is True

    def finalize_headers(self) -> None:
        """Complete the response's headers."""
        super().finalize_headers()
        if self.ws.server.closing and not self.close_connection:
            self.close_connection = True
            headers: Any = self.response_headers
            headers.append((b"Connection", b"close"))

    def _connection_upgrade_requested(self) -> bool:
        # The application gets the body, not the stream: there is nothing it could upgrade to.
        return False

    # The log.

    def log_request(self) -> None:
        """Write a line for the request, as pywsgi has it in its access log."""
        self._log(logging.INFO, "%s", self.format_request())

    def _log_error(self, t: Any, v: BaseException, tb: Any) -> None:
        """Log what the application raised; the client gets a 500, if that is possible."""
        if isinstance(v, (GreenletExit, KeyboardInterrupt)):
            raise v
        if isinstance(v, OSError) and (self.ws._broken or self._stream.ended):
            # The application could not read, or write, because the client is gone.
            self._log(logging.DEBUG, "! client is gone", exc=v)
        else:
            self._log(logging.ERROR, "HTTP application failed", exc=v)

    def _handle_client_error(self, ex: Exception) -> Any:
        self._log(logging.DEBUG, "! no valid HTTP request", exc=ex)
        return BAD_REQUEST

    def _log(self, level: int, message: str, *args: Any, exc: Any = None) -> None:
        self.ws._protocol.journal.line(level, message, *args, exc=exc)
        self.ws._emit()


# What `WSGIHandler.handle_one_request` returns for a request that is not valid.
BAD_REQUEST = "400", b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
