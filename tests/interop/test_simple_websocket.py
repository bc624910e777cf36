"""We and simple-websocket, as server and client of each other."""

from __future__ import annotations

import sys

from tests.interop.suite import COMBINATIONS, Suite, answer


class TestSimpleWebsocket(Suite):
    command = [sys.executable, "-m", "tests.interop.peers.simple_peer"]
    # It compresses as a server only.
    negotiations = [("client", ours, {}, answer(**ours)) for ours in COMBINATIONS]
    # As a client it ends TCP instead of answering.
    answers = {"server": (1006, "")}
    hears_answers = False
    # Two threads of it use one TLS connection: against `websockets`, too, one in hundreds breaks.
    fragile = {("server", "wss")}
