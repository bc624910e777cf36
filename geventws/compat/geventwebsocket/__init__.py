"""The names of gevent-websocket 0.10.1, on geventws; see `geventws.compat.install`."""

from __future__ import annotations

from geventws.compat.geventwebsocket.exceptions import WebSocketError
from geventws.compat.geventwebsocket.resource import Resource, WebSocketApplication
from geventws.compat.geventwebsocket.server import WebSocketServer
from geventws.compat.geventwebsocket.utils import VERSION, get_version

__all__ = [
    "VERSION",
    "Resource",
    "WebSocketApplication",
    "WebSocketError",
    "WebSocketServer",
    "get_version",
]
