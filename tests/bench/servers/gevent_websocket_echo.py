"""Echo on gevent-websocket and gevent.pywsgi."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gevent.pywsgi import WSGIServer
from geventwebsocket.handler import WebSocketHandler


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Send everything back."""
    ws = environ["wsgi.websocket"]
    while (message := ws.receive()) is not None:
        ws.send(message)
    return []


server = WSGIServer(("127.0.0.1", 0), echo, log=None, handler_class=WebSocketHandler)
server.start()
print(server.server_port, flush=True)
server.serve_forever()
