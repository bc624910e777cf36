"""The echo server that Autobahn|Testsuite examines; it prints the build and its port."""

from __future__ import annotations

import geventws
from geventws.build import build_name


def echo(ws: geventws.ServerConnection) -> None:
    """Send everything back."""
    for message in ws:
        ws.send(message)


# Section 9 has messages of 16 MiB, and of 65,536 fragments.
with geventws.serve(echo, "127.0.0.1", 0, max_size=None, max_fragments=None) as server:
    print(build_name(), server.address[1], sep="\n", flush=True)
    server.serve_forever()
