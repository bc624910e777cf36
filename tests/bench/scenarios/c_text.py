"""What does a text message cost?"""

from __future__ import annotations

from tests.bench.candidates import ASYNC_PEERS, FLOOR, GEVENTWS, PICOWS, PLAIN
from tests.bench.measures import Load, echo
from tests.bench.scenario import CPU, LOAD_COLUMNS, RATE, Bar, Scenario

SCENARIOS = [
    Scenario(
        letter="c",
        question="echo text of 1 KiB, 8 connections, one message in flight each",
        candidates=[FLOOR, GEVENTWS, PLAIN, *ASYNC_PEERS],
        measure=echo(Load(connections=8, size=1024, text=True)),
        metrics=[CPU, RATE, *LOAD_COLUMNS],
        bars=[Bar(CPU, 1.10, PICOWS)],
        note="All but the floor and picows check the UTF-8 and make a str.",
    )
]
