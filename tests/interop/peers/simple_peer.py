"""simple-websocket, as server behind Werkzeug, and as client."""

from __future__ import annotations

import threading
from typing import Any, NoReturn
from urllib.parse import urlsplit

from simple_websocket import Client, ConnectionClosed, Server
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.interop.peers.talk import close_arguments, commands, say, settings

TLS = settings()


def echo(ws: Any, path: str) -> None:
    """Send everything back until the end."""
    try:
        while True:
            message = ws.receive()
            if close := close_arguments(message):
                ws.close(*close)
            else:
                ws.send(message)
    except ConnectionClosed:
        # Its thread, which tells of a close frame, answers it after that.
        ws.thread.join()
        say([path, ws.close_reason, ws.close_message])


class Handler(WSGIRequestHandler):
    """Ends TCP, which simple-websocket does not, instead of waiting for another request."""

    protocol_version = "HTTP/1.0"


def app(environ: dict[str, Any], start_response: Any) -> NoReturn:
    """Accept a connection."""
    echo(Server.accept(environ), environ["PATH_INFO"])
    # Tells Werkzeug that there is nothing to answer any more.
    raise ConnectionError


def connect(uri: str) -> None:
    """Connect to a server."""
    path = urlsplit(uri).path
    ws = Client.connect(uri, ssl_context=TLS.client)
    say([path])
    echo(ws, path)


servers = [
    make_server("127.0.0.1", 0, app, threaded=True, request_handler=Handler, ssl_context=tls)
    for tls in (None, TLS.server)
]
for server in servers:
    threading.Thread(target=server.serve_forever, daemon=True).start()
say([server.port for server in servers])
for uri, _ in commands():
    threading.Thread(target=connect, args=[uri], daemon=True).start()
