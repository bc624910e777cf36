"""A client for a WSGI application that runs on no port."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gevent
from gevent import socket
from gevent.pywsgi import WSGIHandler, WSGIServer

from geventws.core.http11 import Response, ResponseReader
from geventws.net.client import connect
from geventws.net.client_connection import ClientConnection
from geventws.testing.connections import ADDRESS

__all__ = ["WSGIClient"]


class WSGIClient:
    """Asks a WSGI application for WebSockets and pages, in memory.

    ::

        client = WSGIClient(app)
        assert client.get("/").status_code == 200

    Each request runs in a greenlet of its own, by the code of `gevent.pywsgi`.

    Args:
        app: the application.
        handler_class: what runs the requests: `geventws.pywsgi.WebSocketHandler` for
            applications that expect ``environ["wsgi.websocket"]``.
        environ: more variables for each request's environ.
    """

    def __init__(
        self,
        app: Any,
        *,
        handler_class: type[WSGIHandler] = WSGIHandler,
        environ: dict[str, Any] | None = None,
    ) -> None:
        variables = {"SERVER_NAME": "localhost", "SERVER_PORT": "80", **(environ or {})}
        # It is never started, and listens nowhere.
        self._server: Any = WSGIServer(
            ADDRESS, app, log=None, handler_class=handler_class, environ=variables
        )

    def connect(self, path: str = "/", **options: Any) -> ClientConnection:
        """Open a WebSocket.

        Args:
            path: the path, and the query.
            options: as for `geventws.connect`.

        Raises:
            InvalidStatus: the application answered otherwise; ``response`` is its answer.
        """
        return connect(f"ws://localhost{path}", sock=self._dial(), **options)

    def get(self, path: str = "/", headers: Iterable[tuple[str, str]] = ()) -> Response:
        """Ask for a page.

        Args:
            path: the path, and the query.
            headers: headers to add to the request.

        Raises:
            EOFError: the application failed in the middle of its answer.
        """
        lines = [("Host", "localhost"), ("Connection", "close"), *headers]
        head = "".join(f"{name}: {value}\r\n" for name, value in lines)
        reader = ResponseReader()
        response = None
        with self._dial() as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
            while response is None:
                data = sock.recv(65536)
                response = reader.receive_data(data) if data else reader.receive_eof()
        return response

    def _dial(self) -> Any:
        ours, theirs = socket.socketpair()
        gevent.spawn(self._serve, theirs)
        return ours

    def _serve(self, sock: Any) -> None:
        try:
            self._server.handle(sock, ADDRESS)
        finally:
            sock.close()
