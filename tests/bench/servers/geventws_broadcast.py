"""Broadcast on geventws."""

import sys

import geventws
from geventws import broadcast

connections: set[geventws.ServerConnection] = set()


def publish(ws: geventws.ServerConnection) -> None:
    """Send everything to all."""
    connections.add(ws)
    try:
        for message in ws:
            broadcast(connections, message)
    finally:
        connections.remove(ws)


compression = "deflate" if "deflate" in sys.argv else None
with geventws.serve(publish, "127.0.0.1", 0, compression=compression) as server:
    print(server.address[1], flush=True)
    server.serve_forever()
