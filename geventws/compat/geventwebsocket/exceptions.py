"""What gevent-websocket raises."""

from __future__ import annotations

__all__ = ["FrameTooLargeException", "ProtocolError", "WebSocketError"]


class WebSocketError(OSError):
    """A WebSocket is closed, or was used wrongly; ``__cause__`` is geventws' own exception."""


class ProtocolError(WebSocketError):
    """A frame breaks RFC 6455."""


class FrameTooLargeException(ProtocolError):
    """A frame is longer than it may be."""
