"""We and aiohttp, as server and client of each other."""

from __future__ import annotations

import itertools
import sys
from typing import Any

from tests.interop.suite import COMBINATIONS, Suite, answer


def negotiations() -> Any:
    # As a server it does what it is asked to, and asks for nothing.
    for alone, bits in itertools.product([False, True], [None, *range(9, 15)]):
        ours = {"server_no_context_takeover": alone, "server_max_window_bits": bits}
        yield "client", ours, {}, answer(**ours)
    # As a client it asks for a window of the server.
    for bits in range(9, 15):
        yield "server", {}, {"compress": bits}, answer(server_max_window_bits=bits)
    for ours in COMBINATIONS:
        yield "server", ours, {"compress": 15}, answer(**ours)


class TestAiohttp(Suite):
    command = [sys.executable, "-m", "tests.interop.peers.aiohttp_peer"]
    negotiations = list(negotiations())
    # Whatever the code of our close frame.
    answers = {"server": (1000, ""), "client": (1000, "")}
