"""Does one connection that floods slow down the others?"""

from __future__ import annotations

from tests.bench.candidates import ASYNC_PEERS, GEVENT_WEBSOCKET, GEVENTWS, PLAIN
from tests.bench.measures import Load, flood
from tests.bench.scenario import Bar, Metric, Scenario

SLOWDOWN = Metric("slowdown", "slowdown", 2)

SCENARIOS = [
    Scenario(
        letter="k",
        question="1,000 connections, a message every 100 ms each, and one that floods",
        candidates=[GEVENTWS, PLAIN, *ASYNC_PEERS, GEVENT_WEBSOCKET],
        measure=flood(Load(connections=1000), interval=100),
        metrics=[
            SLOWDOWN,
            Metric("calm", "p99 ms without", 2),
            Metric("flooded", "p99 ms with", 2),
            Metric("rate", "flood echoes/s"),
            Metric("late", "load late ms", 2),
        ],
        bars=[Bar(SLOWDOWN, 3.0)],
        note="The 1,000 echo 32 B; p99 is theirs. The one sends 32 B as fast as TCP takes them.",
    )
]
