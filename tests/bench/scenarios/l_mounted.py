"""What does it cost to live inside of a WSGI server?"""

from __future__ import annotations

from tests.bench.candidates import GEVENT_WEBSOCKET, GEVENTWS, MOUNTED
from tests.bench.measures import Load, echo, idle
from tests.bench.scenario import CPU, LOAD_COLUMNS, RATE, Bar, Metric, Scenario

MEMORY = Metric("memory", "KiB/connection", 2, compared=True)

SCENARIOS = [
    Scenario(
        letter="l",
        question="echo 32 B on gevent.pywsgi, 50 connections, one message in flight each",
        candidates=[GEVENTWS, MOUNTED, GEVENT_WEBSOCKET],
        measure=echo(Load(connections=50)),
        metrics=[CPU, RATE, *LOAD_COLUMNS],
        bars=[Bar(CPU, 1.10, GEVENTWS)],
        subject=MOUNTED,
    ),
    Scenario(
        letter="l",
        question="resident memory of an idle connection on gevent.pywsgi, of 4,000",
        candidates=[GEVENTWS, MOUNTED, GEVENT_WEBSOCKET],
        measure=idle(4_000),
        metrics=[MEMORY, Metric("total", "server MiB")],
        bars=[Bar(MEMORY, 16)],
        subject=MOUNTED,
        most_rounds=2,
        note="A server starts anew for each measurement. Handlers wait for a message.",
    ),
]
