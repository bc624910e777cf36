"""A thousand messages of mixed sizes go to foreign clients and back, unchanged."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import pytest
from gevent import subprocess

import geventws
from tests.modes import LONG

# How many to each client; `make faults` sends ten thousand.
COUNT = 10_000 if LONG else 1_000


def echo(ws: Any) -> None:
    """Echo, every other message in fragments and as it arrives."""
    with contextlib.suppress(geventws.ConnectionClosedOK):
        while True:
            ws.send(ws.recv())
            ws.send(ws.recv_streaming())


@pytest.mark.deadline(120)
@pytest.mark.parametrize(
    ("library", "compression"),
    [("websockets", "deflate"), ("websockets", ""), ("websocket-client", "")],
)
def test_echo_of_mixed_sizes(library: str, compression: str) -> None:
    with geventws.serve(echo, "127.0.0.1", 0) as server:
        client = subprocess.run(
            [
                *(sys.executable, "-m", "tests.interop.size_client"),
                *(library, str(server.address[1]), str(COUNT), "1", compression),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert client.returncode == 0, client.stderr
    assert client.stdout.startswith(f"{COUNT} messages, ")
