"""What does it cost to send a message to everybody?"""

from __future__ import annotations

from tests.bench.candidates import GEVENTWS, PICOWS, PLAIN, WEBSOCKETS
from tests.bench.corpus import EXTENSIONS
from tests.bench.measures import Load, broadcast
from tests.bench.scenario import LOAD_COLUMNS, Bar, Metric, Scenario

CPU = Metric("cpu", "CPU µs/delivery", 2, compared=True)
METRICS = [CPU, Metric("rate", "deliveries/s", compared=True), *LOAD_COLUMNS]
LOAD = Load(connections=1000, size=128, text=True)

SCENARIOS = [
    Scenario(
        letter="h",
        question="broadcast 128 B to 1,000 connections",
        candidates=[GEVENTWS, PLAIN, PICOWS, WEBSOCKETS],
        measure=broadcast(LOAD),
        metrics=METRICS,
        bars=[Bar(CPU, 1.05, PICOWS), Bar(CPU, 0.75, WEBSOCKETS)],
        note="picows sends in a loop.",
    ),
    Scenario(
        letter="h",
        question="broadcast 128 B to 1,000 connections with permessage-deflate",
        candidates=[GEVENTWS, PLAIN, WEBSOCKETS],
        measure=broadcast(LOAD._replace(extensions=EXTENSIONS), "deflate"),
        metrics=METRICS,
        bars=[Bar(CPU, 0.50, WEBSOCKETS)],
    ),
]
