"""What does a message cost that comes with others?"""

from __future__ import annotations

from tests.bench.candidates import ASYNC_PEERS, FLOOR, GEVENTWS, PICOWS, PLAIN, WSGI_PEERS
from tests.bench.measures import Load, echo
from tests.bench.scenario import CPU, LOAD_COLUMNS, RATE, Bar, Scenario

SCENARIOS = [
    Scenario(
        letter="b",
        question="echo 32 B, 10 connections, 16 messages in flight each",
        candidates=[FLOOR, GEVENTWS, PLAIN, *ASYNC_PEERS, *WSGI_PEERS],
        measure=echo(Load(connections=10, burst=16)),
        metrics=[CPU, RATE, *LOAD_COLUMNS],
        bars=[Bar(CPU, 0.30, PICOWS), Bar(RATE, 3, PICOWS, at_least=True)],
        note="The 16 are sent together, the next 16 once all have come back.",
    )
]
