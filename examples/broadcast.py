"""What you type, to everybody: lines of the standard input are broadcast to all clients.

    $ python examples/broadcast.py
    $ (while date; do sleep 1; done) | python examples/broadcast.py

Look at them with ``python -m geventws connect ws://127.0.0.1:8765``, or any other client.
"""

from __future__ import annotations

import argparse
import sys

import gevent
from gevent.fileobject import FileObjectThread

import geventws


def listen(ws: geventws.ServerConnection) -> None:
    """Serve a client: what it says is of no interest, that it leaves is."""
    ws.wait_closed()


def announce(server: geventws.Server) -> None:
    """Broadcast lines; a client that does not keep up is told to come back later."""
    # A native thread reads them, since a file cannot be waited for by an event loop.
    for line in FileObjectThread(sys.stdin.fileno(), "r", closefd=False):
        geventws.broadcast(server.connections, line.rstrip("\n"), drop_slow=True)
    server.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Broadcast lines to all clients.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", default=8765, type=int, help="port to listen on")
    args = parser.parse_args()
    with geventws.serve(listen, args.host, args.port, max_size=100) as server:
        print(f"Listening at ws://{args.host}:{server.address[1]}", file=sys.stderr, flush=True)
        gevent.spawn(announce, server)
        server.serve_forever()
