"""Gunicorn's worker with WebSockets."""

from __future__ import annotations

from typing import Any

import gevent

try:
    from gunicorn.workers.ggevent import GeventPyWSGIWorker, PyWSGIHandler
except ImportError as exc:
    raise ImportError("this worker needs gunicorn: pip install 'geventws[gunicorn]'") from exc

from geventws.compat.geventwebsocket.handler import WebSocketHandler
from geventws.core.frames import CloseCode
from geventws.net.mounted import mounted_connections

__all__ = ["GeventWebSocketWorker", "GunicornHandler"]


class GunicornHandler(WebSocketHandler, PyWSGIHandler):
    """Runs requests as `WebSocketHandler` does, and writes gunicorn's access log."""


class GeventWebSocketWorker(GeventPyWSGIWorker):
    """Gunicorn's worker ``gevent_pywsgi``, with WebSockets."""

    wsgi_handler = GunicornHandler

    def handle_exit(self, sig: int, frame: Any) -> None:
        """TERM: stop when all requests have ended; those of WebSockets end now."""
        super().handle_exit(sig, frame)
        gevent.spawn(say_goodbye)


def say_goodbye() -> None:
    """Close all WebSockets with 1001."""
    for connection in mounted_connections():
        connection._begin_close(CloseCode.GOING_AWAY)
