"""Echo on geventws inside of gevent.pywsgi."""

import sys

from gevent.pywsgi import WSGIServer

import geventws
from geventws.wsgi import websocket_app


def echo(ws: geventws.ServerConnection) -> None:
    """Send everything back."""
    for message in ws:
        ws.send(message)


compression = "deflate" if "deflate" in sys.argv else None
app = websocket_app(compression=compression)(echo)
server = WSGIServer(("127.0.0.1", 0), app, log=None)
server.start()
print(server.server_port, flush=True)
server.serve_forever()
