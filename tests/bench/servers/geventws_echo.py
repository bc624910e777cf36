"""Echo on geventws."""

import geventws


def echo(ws: geventws.ServerConnection) -> None:
    """Send everything back."""
    for message in ws:
        ws.send(message)


with geventws.serve(echo, "127.0.0.1", 0, compression=None) as server:
    print(server.address[1], flush=True)
    server.serve_forever()
