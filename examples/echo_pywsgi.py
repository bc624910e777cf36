"""An echo on gevent's own WSGI server: page and WebSocket on one port, in plain WSGI."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gevent

import geventws
from geventws.pywsgi import WebSocketServer
from geventws.wsgi import WebSocketMiddleware

PAGE = Path(__file__).with_name("echo.html").read_bytes()


def page(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer the requests that are none for a WebSocket."""
    found = environ["PATH_INFO"] == "/"
    status = "200 OK" if found else "404 Not Found"
    start_response(status, [("Content-Type", "text/html; charset=utf-8")])
    return [PAGE if found else b"The page is at /"]


def echo(ws: geventws.ServerConnection) -> None:
    """Serve one WebSocket."""
    for message in ws:
        ws.send(message)


app = WebSocketMiddleware(page, {"/echo": echo}, max_size=2**16)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", default=8000, type=int, help="port to listen on")
    args = parser.parse_args()
    server = WebSocketServer((args.host, args.port), app)
    server.start()
    gevent.signal_handler(signal.SIGINT, server.stop)
    print(f"Echo at http://{args.host}:{server.server_port}/  (Ctrl-C ends it)", flush=True)
    server.serve_forever()
