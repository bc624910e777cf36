"""Runs requests on gevent's WSGI server; those for WebSockets open before the application runs."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from gevent.pywsgi import WSGIHandler

from geventws.compat.geventwebsocket.clients import Client, Clients
from geventws.compat.geventwebsocket.logging import create_logger
from geventws.compat.geventwebsocket.websocket import WebSocket
from geventws.core.environ import asks_for_websocket
from geventws.core.exceptions import InvalidHandshake
from geventws.core.grammar import GUID
from geventws.mount import Mount
from geventws.wsgi import Gate

__all__ = ["Client", "WebSocketHandler"]

# Tells clients apart that have no address, or the same.
_numbers = itertools.count(1)


class WebSocketHandler(WSGIHandler):
    """Runs the requests of a `gevent.pywsgi.WSGIServer`, WebSockets among them.

    A request that asks for a WebSocket gets it: it is open, and in
    ``environ["wsgi.websocket"]``, when the application is called. What the application
    answers is not sent. When it returns, the WebSocket is closed.

    `run_application` calls `upgrade_websocket`, which calls `upgrade_connection`, then
    `run_websocket`; each may be overridden.
    """

    SUPPORTED_VERSIONS = ("13",)
    GUID = GUID.decode()

    # Whether to leave it at opening the WebSocket, as `websocket`; whoever sets this runs it.
    prevent_wsgi_call = False

    # Options of all WebSockets, as for `geventws.wsgi.accept`.
    websocket_options: ClassVar[Mapping[str, Any]] = {}

    # What is made of each connection.
    websocket_class: ClassVar[type[WebSocket]] = WebSocket

    # The request's environ; None before there is a request.
    environ: dict[str, Any]

    # The server's application.
    application: Any

    # The request's WebSocket; there is no such attribute where there is no WebSocket.
    websocket: WebSocket | None

    # What keeps the application's HTTP out of the WebSocket.
    _gate: Gate | None = None

    # The client's key in ``server.clients``.
    _key: Any = None

    @classmethod
    def configure(cls, options: Mapping[str, Any]) -> None:
        """Set `websocket_options`; servers that have had a WebSocket keep theirs.

        Raises:
            TypeError, ValueError: the options are wrong.
        """
        Mount(**options)
        cls.websocket_options = options

    def run_application(self) -> None:
        """Answer a request."""
        hook = getattr(self.server, "pre_start_hook", None)
        if hook and hook(self):
            super().run_application()
            return
        answer = self.upgrade_websocket()
        if getattr(self, "websocket", None) is not None:
            self.run_websocket()
        elif self.status:
            # An override has refused. What may follow are frames, not another request.
            self.close_connection = True
            self.result = [to_body(part) for part in answer or ()]
            self.process_result()
        else:
            super().run_application()

    def upgrade_websocket(self) -> Sequence[str | bytes] | None:
        """Open the WebSocket if the request asks for one.

        Returns:
            The body of a response that was begun by ``start_response``; None otherwise.
        """
        if self.environ.get("REQUEST_METHOD") == "GET" and asks_for_websocket(self.environ):
            return self.upgrade_connection()
        return None

    def upgrade_connection(self) -> Sequence[str | bytes] | None:
        """Open the WebSocket, or tell the client what is wrong with its request.

        Returns:
            As `upgrade_websocket`.
        """
        mount = self._mount()
        gate = Gate(self.start_response)
        handler_class: Any = type(self)
        scoped = not self.prevent_wsgi_call and has_no_overrides(handler_class)
        connection, host = mount.connect(self.environ, self.start_response, scoped=scoped)
        connection.server = self.server
        try:
            gate.open(mount, connection, host)
        except InvalidHandshake:
            # The client was told.
            return []
        try:
            self.websocket = self.websocket_class(self.environ, connection, self)
        except BaseException as exc:
            gate.abort(exc)
            raise
        self._gate = gate
        self.environ["wsgi.websocket"] = self.websocket
        self.environ["wsgi.websocket_version"] = self.websocket.version
        return None

    def run_websocket(self) -> None:
        """Run the application with its WebSocket, then close that."""
        gate, websocket = self._gate, self.websocket
        if self.prevent_wsgi_call or gate is None or websocket is None:
            return
        try:
            self._run_client(gate, websocket)
        except BaseException as exc:
            gate.abort(exc)
            raise
        else:
            gate.close()
        finally:
            # They refer to each other, by way of the environ.
            self.environ["wsgi.websocket"] = self.websocket = self._gate = None
            websocket._finish()

    def _run_client(self, gate: Gate, websocket: WebSocket) -> None:
        """Run the application; for so long, the client is one of ``server.clients``."""
        clients = self._clients()
        self._key = self.client_address
        if not self._key or self._key in clients:
            # Clients at a Unix socket have no address.
            self._key = (self.client_address, next(_numbers))
        clients[self._key] = Client(self._key, websocket)
        try:
            result = self.application(self.environ, gate)
            try:
                # Generators run only while somebody takes what they make.
                for _ in result or ():
                    pass
            finally:
                if hasattr(result, "close"):
                    result.close()
        finally:
            clients.pop(self._key, None)

    def _clients(self) -> Any:
        server: Any = self.server
        if not hasattr(server, "clients"):
            server.clients = Clients()
        return server.clients

    def _mount(self) -> Mount:
        """Return what opens the WebSockets of the server; made once for all of them."""
        server: Any = self.server
        mount: Mount | None = getattr(server, "geventwebsocket_mount", None)
        if mount is None:
            options = {"select_subprotocol": select_subprotocol, **self.websocket_options}
            if getattr(server, "debug", False):
                options.setdefault("logger", self.logger)
            mount = server.geventwebsocket_mount = Mount(**options)
        return mount

    @property
    def active_client(self) -> Any:
        """The request's own client in ``server.clients``."""
        server: Any = self.server
        return server.clients[self.client_address if self._key is None else self._key]

    @property
    def logger(self) -> logging.Logger:
        """The server's logger."""
        server: Any = self.server
        if not hasattr(server, "logger"):
            server.logger = create_logger("geventwebsocket.handler")
        logger: logging.Logger = server.logger
        return logger


@functools.cache
def has_no_overrides(handler_class: Any) -> bool:
    """Whether it is certain that `run_websocket` ends what `upgrade_connection` has opened."""
    hooks = "run_application", "upgrade_websocket", "upgrade_connection", "run_websocket"
    return all(getattr(handler_class, name) is getattr(WebSocketHandler, name) for name in hooks)


def select_subprotocol(connection: Any, offered: Sequence[str]) -> str | None:
    """Choose the subprotocol that the server's application wants, if the client offers it."""
    application = connection.server.application
    if not hasattr(application, "app_protocol"):
        return None
    wanted: str = application.app_protocol(connection.environ["PATH_INFO"])
    return wanted if wanted in offered else None


def to_body(part: str | bytes) -> bytes:
    """Return a part of a response's body as bytes."""
    return part.encode() if isinstance(part, str) else part
