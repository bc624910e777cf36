"""What does a connection cost that does nothing?"""

from __future__ import annotations

from tests.bench.candidates import ASYNC_PEERS, GEVENT, GEVENTWS, PLAIN, WEBSOCKETS, WSGI_PEERS
from tests.bench.measures import idle
from tests.bench.scenario import Bar, Metric, Scenario

MEMORY = Metric("memory", "KiB/connection", 2, compared=True)

SCENARIOS = [
    Scenario(
        letter="f",
        question="resident memory of an idle connection, of 10,000",
        candidates=[GEVENT, GEVENTWS, PLAIN, *ASYNC_PEERS, *WSGI_PEERS],
        measure=idle(10_000),
        metrics=[MEMORY, Metric("total", "server MiB")],
        bars=[Bar(MEMORY, 10), Bar(MEMORY, 0.70, WEBSOCKETS)],
        most_rounds=2,
        note="A server starts anew for each measurement. Handlers wait for a message.",
    )
]
