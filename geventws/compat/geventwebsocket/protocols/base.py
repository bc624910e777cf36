"""The subprotocol that is none."""

from __future__ import annotations

from typing import Any

__all__ = ["BaseProtocol"]


class BaseProtocol:
    """Stands between a WebSocket and its application; passes everything on.

    Args:
        app: the `WebSocketApplication`.
    """

    PROTOCOL_NAME = ""

    def __init__(self, app: Any) -> None:
        self._app = app

    def on_open(self) -> None:
        """The WebSocket is open."""
        self.app.on_open()

    def on_message(self, message: Any) -> None:
        """A message arrived; None for the end."""
        self.app.on_message(message)

    def on_close(self, reason: Any = None) -> None:
        """The WebSocket is closed."""
        self.app.on_close(reason)

    @property
    def app(self) -> Any:
        """The application."""
        if self._app is None:
            raise RuntimeError("this protocol has no application: pass one to its class")
        return self._app

    @property
    def server(self) -> Any:
        """The server; None before there is a WebSocket."""
        return self.app.ws.handler.server if hasattr(self.app, "ws") else None

    @property
    def handler(self) -> Any:
        """The request's `WebSocketHandler`; None before there is a WebSocket."""
        return self.app.ws.handler if hasattr(self.app, "ws") else None
