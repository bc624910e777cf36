"""How fast are large messages?"""

from __future__ import annotations

from tests.bench.candidates import ASYNC_PEERS, FLOOR, GEVENTWS, PICOWS, PLAIN, WEBSOCKETS
from tests.bench.measures import Load, echo
from tests.bench.scenario import CPU, LOAD_COLUMNS, RATE, Bar, Scenario


def large(name: str, size: int, of_picows: float, of_websockets: float) -> Scenario:
    """Make the scenario of a size, and of the parts of the peers' throughput to reach."""
    return Scenario(
        letter="d",
        question=f"echo {name} binary, 4 connections, one message in flight each",
        candidates=[FLOOR, GEVENTWS, PLAIN, *ASYNC_PEERS],
        measure=echo(Load(connections=4, size=size)),
        metrics=[RATE, CPU, *LOAD_COLUMNS],
        bars=[
            Bar(RATE, of_picows, PICOWS, at_least=True),
            Bar(RATE, of_websockets, WEBSOCKETS, at_least=True),
        ],
    )


SCENARIOS = [large("64 KiB", 2**16, 0.9, 1.5), large("1 MiB", 2**20, 0.7, 1.3)]
