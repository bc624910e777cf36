"""The echo server that Autobahn|Testsuite examines; it prints the build and its port."""

from __future__ import annotations

import geventws
from geventws.build import build_name
from tests.compliance.options import OPTIONS


def echo(ws: geventws.ServerConnection) -> None:
    """Send everything back."""
    for message in ws:
        ws.send(message)


with geventws.serve(echo, "127.0.0.1", 0, **OPTIONS) as server:
    print(build_name(), server.address[1], sep="\n", flush=True)
    server.serve_forever()
