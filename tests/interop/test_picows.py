"""We and picows, by its interface of websockets, as server and client of each other."""

from __future__ import annotations

import sys

from tests.interop.suite import COMBINATIONS, Fragments, Suite, answer


class TestPicows(Suite, Fragments):
    command = [sys.executable, "-m", "tests.interop.peers.picows_peer"]
    negotiations = [
        # As a server it knows no parameters, and ignores those that it is asked for.
        ("client", {}, {}, set()),
        *(("server", ours, {}, answer(**ours)) for ours in COMBINATIONS),
    ]
