"""What does an opening handshake cost?"""

from __future__ import annotations

from tests.bench.candidates import (
    ASYNC_PEERS,
    FLOOR,
    GEVENT,
    GEVENTWS,
    PLAIN,
    WEBSOCKETS,
    WSGI_PEERS,
)
from tests.bench.measures import opening
from tests.bench.scenario import LOAD_COLUMNS, Bar, Metric, Scenario

CPU = Metric("cpu", "CPU µs/handshake", 1, compared=True)

SCENARIOS = [
    Scenario(
        letter="g",
        question="opening handshakes, 64 at a time, TCP connections included",
        candidates=[FLOOR, GEVENT, GEVENTWS, PLAIN, *ASYNC_PEERS, *WSGI_PEERS],
        measure=opening(2000),
        metrics=[CPU, Metric("rate", "handshakes/s", compared=True), *LOAD_COLUMNS],
        bars=[Bar(CPU, 0.50, WEBSOCKETS)],
        note="The first two answer every request with the same bytes, without reading it.",
    )
]
