"""Many clients, of whom some chat; run as ``python -m tests.load.crowd PORT COUNT CHATTING``.

It says ``ready`` when all are connected, goes on until its standard input ends, and then says
what came of it, in JSON.
"""

from __future__ import annotations

import collections
import itertools
import json
import sys
import time
from typing import Any

import gevent
from gevent.fileobject import FileObject
from gevent.pool import Pool

from geventws import State, connect
from tests.load.descriptors import allow_descriptors
from tests.load.measures import slowest

# Each address has ports enough for some thousands.
_addresses = itertools.cycle([f"127.8.8.{number}" for number in range(1, 21)])

# Seconds between two messages of a client.
PAUSE = 1.0


class Crowd:
    """Clients of one server.

    Args:
        port: where it listens.
    """

    def __init__(self, port: int) -> None:
        self.uri = f"ws://127.0.0.1:{port}/"
        self.clients: list[Any] = []
        self.latencies: list[float] = []
        self.errors: collections.Counter[str] = collections.Counter()
        self.over = False

    def open(self, _: int) -> None:
        source = (next(_addresses), 0)
        self.clients.append(connect(self.uri, source_address=source, open_timeout=60))

    def chat(self, ws: Any, number: int) -> None:
        """Send, and get the same back, again and again."""
        gevent.sleep(PAUSE * (number % 100) / 100)
        for turn in itertools.count():
            if self.over:
                return
            message = f"{number}: {turn}"
            begin = time.monotonic()
            try:
                ws.send(message)
                if ws.recv(timeout=30) != message:
                    self.errors["wrong answer"] += 1
            except Exception as exc:
                self.errors[repr(exc)] += 1
                return
            self.latencies.append(time.monotonic() - begin)
            gevent.sleep(PAUSE)

    def end(self) -> dict[str, Any]:
        """Say what came of it, and leave."""
        self.over = True
        return {
            "open": sum(ws.state is State.OPEN for ws in self.clients),
            "messages": len(self.latencies),
            "p99": slowest(self.latencies),
            "errors": self.errors,
        }


def main(port: int, count: int, chatting: int) -> None:
    allow_descriptors()
    crowd = Crowd(port)
    Pool(100).map(crowd.open, range(count))
    print("ready", flush=True)
    talks = [gevent.spawn(crowd.chat, ws, n) for n, ws in enumerate(crowd.clients[:chatting])]
    FileObject(sys.stdin).read()
    result = crowd.end()
    gevent.joinall(talks)
    print(json.dumps(result), flush=True)
    for ws in crowd.clients:
        ws._begin_close(1000)
    for ws in crowd.clients:
        ws.wait_closed(30)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
