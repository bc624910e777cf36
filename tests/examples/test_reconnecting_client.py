"""examples/reconnecting_client.py: it survives its server, and gives up where that is right."""

from __future__ import annotations

import os
import sys
from typing import Any

import gevent
from gevent import subprocess

from geventws import serve
from tests.docs.stage import reserve_port
from tests.examples.support import EXAMPLES, PATIENCE

# Short delays.
ENVIRONMENT = {"GEVENTWS_BACKOFF_INITIAL_DELAY": "0.1", "GEVENTWS_BACKOFF_MIN_DELAY": "0.1"}


def tell(*messages: str) -> Any:
    """Return a handler that says something, and stays."""

    def handler(ws: Any) -> None:
        for message in messages:
            ws.send(message)
        ws.wait_closed()

    return handler


def test_client_comes_back() -> None:
    reserved = reserve_port()
    host, port = reserved.getsockname()
    client = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "reconnecting_client.py"), f"ws://{host}:{port}"],
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        with gevent.Timeout(PATIENCE):
            with serve(tell('{"n": 1}'), host, port):
                assert client.stdout.readline() == b"connected\n"
                assert client.stdout.readline() == b"{'n': 1}\n"
            assert client.stdout.readline() == b"the server said goodbye (1001)\n"
            with serve(tell("[2]", "nonsense"), host, port):
                lines = [client.stdout.readline() for _ in range(3)]
                assert lines == [b"connected\n", b"[2]\n", b"this is no JSON\n"]
                assert client.wait() == 0
    finally:
        client.kill()
        client.communicate()
        reserved.close()
