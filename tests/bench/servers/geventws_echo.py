"""Echo on geventws."""

import sys

import geventws


def echo(ws: geventws.ServerConnection) -> None:
    """Send everything back."""
    for message in ws:
        ws.send(message)


compression = "deflate" if "deflate" in sys.argv else None
with geventws.serve(echo, "127.0.0.1", 0, compression=compression) as server:
    print(server.address[1], flush=True)
    server.serve_forever()
