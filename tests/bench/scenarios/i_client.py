"""What does it cost a client to receive?"""

from __future__ import annotations

from tests.bench.candidates import ASYNC_PEERS, GEVENTWS, PICOWS, PLAIN, WEBSOCKET_CLIENT
from tests.bench.measures import client
from tests.bench.scenario import CPU, RATE, Bar, Metric, Scenario

SCENARIOS = [
    Scenario(
        letter="i",
        question="client receiving a stream of 64 B text messages as str",
        candidates=[GEVENTWS, PLAIN, *ASYNC_PEERS, WEBSOCKET_CLIENT],
        measure=client(),
        metrics=[
            CPU,
            RATE,
            Metric("server", "client busy %"),
            Metric("load", "stream busy %"),
        ],
        bars=[Bar(CPU, 1.00, PICOWS), Bar(CPU, 0.05, WEBSOCKET_CLIENT)],
    )
]
