"""We and simple-websocket, as server and client of each other.

As a server it ends no TCP connection, as a client it answers no close frame: when we begin to
close, it takes as long as `close_timeout`.
"""

from __future__ import annotations

import sys

from tests.interop.suite import COMBINATIONS, Suite, answer


class TestSimpleWebsocket(Suite):
    command = [sys.executable, "-m", "tests.interop.peers.simple_peer"]
    # It compresses as a server only.
    negotiations = [("client", ours, {}, answer(**ours)) for ours in COMBINATIONS]
