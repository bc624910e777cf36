"""How does plain Python compare?

Server CPU per echoed 32-byte message at 50 connections, geventws plain Python against websockets
asyncio.
"""

from __future__ import annotations

from tests.bench.candidates import PLAIN, WEBSOCKETS
from tests.bench.measures import Load, echo
from tests.bench.scenario import CPU, LOAD_COLUMNS, RATE, Bar, Scenario

SCENARIOS = [
    Scenario(
        letter="j",
        question="question a again, for geventws without compiled modules",
        candidates=[PLAIN, WEBSOCKETS],
        measure=echo(Load(connections=50)),
        metrics=[CPU, RATE, *LOAD_COLUMNS],
        bars=[Bar(CPU, 0.50, WEBSOCKETS)],
        subject=PLAIN,
    )
]
