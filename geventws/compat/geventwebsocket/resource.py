"""Applications as classes, and which of them answers a request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from geventws.compat.geventwebsocket.exceptions import WebSocketError
from geventws.compat.geventwebsocket.protocols.base import BaseProtocol

__all__ = ["Resource", "WebSocketApplication"]


class WebSocketApplication:
    """What a WebSocket does; to be subclassed.

    Args:
        ws: the WebSocket.
    """

    protocol_class: ClassVar[type[BaseProtocol]] = BaseProtocol

    def __init__(self, ws: Any) -> None:
        self.protocol = self.protocol_class(self)
        self.ws = ws

    def handle(self) -> None:
        """Run until the WebSocket is closed.

        When the other side closes it, `on_message` gets None, then `on_close` is called.
        """
        self.protocol.on_open()
        while True:
            try:
                message = self.ws.receive()
            except WebSocketError:
                self.protocol.on_close()
                return
            self.protocol.on_message(message)

    def on_open(self, *args: Any, **kwargs: Any) -> None:
        """React to the WebSocket's opening."""

    def on_close(self, *args: Any, **kwargs: Any) -> None:
        """React to the WebSocket's end."""

    def on_message(self, message: Any, *args: Any, **kwargs: Any) -> None:
        """React to a message; None at the end. Unless it is overridden, send it back."""
        if message is not None:
            self.ws.send(message, **kwargs)

    @classmethod
    def protocol_name(cls) -> str:
        """Return the subprotocol that is accepted; "" for none."""
        return cls.protocol_class.PROTOCOL_NAME


class Resource:
    """A WSGI application of several, WebSocket applications among them.

    Args:
        apps: pairs of a path and an application, or a mapping; the first match wins. A path is
            a regular expression that matches the beginning of ``PATH_INFO``; an application a
            subclass of `WebSocketApplication`, for WebSockets, or a WSGI application, for HTTP.
    """

    def __init__(self, apps: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None) -> None:
        self.apps: Any = apps.items() if isinstance(apps, Mapping) else apps or []

    def _is_websocket_app(self, app: Any) -> bool:
        """Whether an application is for WebSockets; may be overridden."""
        return isinstance(app, type) and issubclass(app, WebSocketApplication)

    def _app_by_path(self, environ_path: str, is_websocket_request: bool) -> Any:
        for path, app in self.apps:
            if re.match(path, environ_path) and is_websocket_request == self._is_websocket_app(app):
                return app
        return None

    def app_protocol(self, path: str) -> str:
        """Return the subprotocol of the application for a path; "" for none."""
        app = self._app_by_path(path, True)
        return app.protocol_name() if hasattr(app, "protocol_name") else ""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        is_websocket_request = "wsgi.websocket" in environ
        app = self._app_by_path(path, is_websocket_request)
        if app is None:
            kind = "WebSocket" if is_websocket_request else "WSGI"
            raise LookupError(f"the Resource has no {kind} application for {path!r}")
        if not is_websocket_request:
            return app(environ, start_response)
        ws = environ["wsgi.websocket"]
        running = app(ws)
        running.ws = ws
        running.handle()
        return []
