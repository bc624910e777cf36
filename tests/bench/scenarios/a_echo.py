"""What does a small message cost?"""

from __future__ import annotations

from tests.bench.candidates import (
    ASYNC_PEERS,
    FLOOR,
    GEVENT_WEBSOCKET,
    GEVENTWS,
    PICOWS,
    PLAIN,
    WEBSOCKETS,
    WSGI_PEERS,
)
from tests.bench.measures import Load, echo
from tests.bench.scenario import CPU, LOAD_COLUMNS, RATE, Bar, Scenario

SCENARIOS = [
    Scenario(
        letter="a",
        question="echo 32 B, 50 connections, one message in flight each",
        candidates=[FLOOR, GEVENTWS, PLAIN, *ASYNC_PEERS, *WSGI_PEERS],
        measure=echo(Load(connections=50)),
        metrics=[CPU, RATE, *LOAD_COLUMNS],
        bars=[
            Bar(CPU, 1.00, PICOWS),
            Bar(CPU, 0.40, WEBSOCKETS),
            Bar(CPU, 0.40, GEVENT_WEBSOCKET),
            Bar(CPU, 1.45, FLOOR),
        ],
    )
]
