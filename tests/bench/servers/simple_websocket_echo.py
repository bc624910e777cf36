"""Echo on simple-websocket and gevent.pywsgi."""

from __future__ import annotations

from gevent.monkey import patch_all

patch_all()

from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

from gevent.pywsgi import WSGIServer  # noqa: E402
from simple_websocket import ConnectionClosed, Server  # noqa: E402


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Send everything back."""
    ws = Server(environ)
    try:
        while True:
            ws.send(ws.receive())
    except ConnectionClosed:
        return []


server = WSGIServer(("127.0.0.1", 0), echo, log=None)
server.start()
print(server.server_port, flush=True)
server.serve_forever()
