"""Gunicorn's worker with WebSockets."""

from __future__ import annotations

from geventws.compat.geventwebsocket.handler import WebSocketHandler
from geventws.gunicorn import IdleHandler, PyWSGIWorker

__all__ = ["GeventWebSocketWorker", "GunicornHandler"]


class GunicornHandler(WebSocketHandler, IdleHandler):
    """Runs requests as `WebSocketHandler` does, and writes gunicorn's access log."""


class GeventWebSocketWorker(PyWSGIWorker):
    """The worker `geventws.gunicorn.PyWSGIWorker`, with WebSockets as gevent-websocket's."""

    wsgi_handler = GunicornHandler
