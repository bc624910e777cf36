"""What clients wait for, and how many ticks other greenlets get meanwhile.

``python -m tests.net.waits`` prints their ticks as part of those of a run without the wait.
Such a figure is for a calm machine; tests/net/test_waits.py asks for less, and for sure.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
from collections.abc import Callable, Iterator

import gevent
from gevent.event import Event

from geventws import connect
from geventws.testing import RawServer
from tests.net.support import HOST, SlowDNS, client_tls, pair

# Seconds: of a run, and between the ticks of a greenlet.
RUN, TICK = 1.0, 0.001
ROUNDS = 5

Waiting = Callable[[], contextlib.AbstractContextManager[gevent.Greenlet]]


def ignoring(function: Callable[[], object]) -> gevent.Greenlet:
    """Run something that is going to be interrupted, or to fail in the end."""

    def run() -> None:
        with contextlib.suppress(Exception):
            function()

    return gevent.spawn(run)


@contextlib.contextmanager
def slow_dns() -> Iterator[gevent.Greenlet]:
    with SlowDNS() as dns:
        waiting = ignoring(lambda: connect("ws://slow.invalid/", open_timeout=None))
        while not dns.asked.is_set():
            gevent.sleep(TICK)
        yield waiting
        waiting.kill()


@contextlib.contextmanager
def silent(uri: str, **options: object) -> Iterator[gevent.Greenlet]:
    """A peer that says nothing; ``PORT`` stands for its port."""
    with RawServer() as server:
        port = str(server.address[1])
        options = {
            name: value.replace("PORT", port) if isinstance(value, str) else value
            for name, value in options.items()
        }
        waiting = ignoring(lambda: connect(uri.replace("PORT", port), open_timeout=None, **options))
        with server.accept(open=False) as peer:
            yield waiting
            waiting.kill()
            peer.recv_eof()


@contextlib.contextmanager
def receiving() -> Iterator[gevent.Greenlet]:
    with pair() as (ws, _):
        waiting = ignoring(ws.recv)
        gevent.sleep(0)
        yield waiting
        waiting.kill()


@contextlib.contextmanager
def nothing() -> Iterator[gevent.Greenlet]:
    """The control run."""
    with pair():
        waiting = ignoring(Event().wait)
        yield waiting
        waiting.kill()


WAITS: dict[str, Waiting] = {
    "slow DNS": slow_dns,
    "slow HTTP proxy": lambda: silent("ws://a.invalid/", proxy=f"http://{HOST}:PORT"),
    "slow HTTPS proxy": lambda: silent(
        "ws://a.invalid/", proxy=f"https://{HOST}:PORT", proxy_ssl=client_tls()
    ),
    "slow SOCKS proxy": lambda: silent("ws://a.invalid/", proxy=f"socks5h://{HOST}:PORT"),
    "slow TLS handshake": lambda: silent(f"wss://{HOST}:PORT/", ssl=client_tls()),
    "slow opening handshake": lambda: silent(f"ws://{HOST}:PORT/"),
    "recv()": receiving,
}


def count_ticks(seconds: float) -> int:
    """How often a greenlet that sleeps for a tick runs meanwhile."""
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        while True:
            gevent.sleep(TICK)
            ticks += 1

    ticking = gevent.spawn(tick)
    gevent.sleep(seconds)
    ticking.kill()
    return ticks


def measure(waiting: Waiting) -> float:
    """The ticks during a wait, as part of those of control runs before and after it."""
    with nothing():
        before = count_ticks(RUN)
    with waiting() as greenlet:
        during = count_ticks(RUN)
        assert not greenlet.dead
    with nothing():
        after = count_ticks(RUN)
    return 2 * during / (before + after)


if __name__ == "__main__":
    from gevent import monkey

    print(f"Python {sys.version.split()[0]}, patched: {monkey.is_module_patched('socket')}")
    for name, waiting in WAITS.items():
        parts = [measure(waiting) for _ in range(ROUNDS)]
        print(f"{name:24} {statistics.median(parts):.3f}  (lowest {min(parts):.3f})", flush=True)
