"""Tests of geventws.net.keepalive."""

from __future__ import annotations

import gc
import time
from typing import Any

import gevent
import gevent.monkey
import pytest
from gevent.event import Event

from geventws.net.keepalive import MIN_CANCELLED, Keepalive
from tests.net.support import PATIENCE, pair, turns, until

# The real one, which blocks the hub, under monkey patching too.
block = gevent.monkey.get_original("time", "sleep")


class Owner:
    def __init__(self, keepalive: Keepalive, exc: BaseException | None = None) -> None:
        self.keepalive = keepalive
        self.exc = exc
        self.called = Event()
        self.calls = 0

    def on_deadline(self) -> None:
        self.calls += 1
        self.called.set()
        if self.exc is not None:
            raise self.exc


@pytest.fixture
def keepalive() -> Any:
    keepalive = Keepalive(gevent.get_hub())
    yield keepalive
    keepalive.stop()


def test_deadlines_come_in_order(keepalive: Keepalive) -> None:
    order: list[int] = []

    class Ordered:
        def __init__(self, number: int) -> None:
            self.number = number

        def on_deadline(self) -> None:
            order.append(self.number)

    for number in (3, 1, 2):
        keepalive.schedule(Ordered(number), number / 100)
    keepalive.schedule(Ordered(0), 0)
    until(lambda: len(order) == 4)
    assert order == [0, 1, 2, 3]


def test_earlier_deadline_while_waiting_for_a_later_one(keepalive: Keepalive) -> None:
    late, early = Owner(keepalive), Owner(keepalive)
    keepalive.schedule(late, 1000)
    turns()
    keepalive.schedule(early, 0.001)
    assert early.called.wait(PATIENCE)
    assert late.calls == 0


def test_not_before_its_time(keepalive: Keepalive) -> None:
    owner = Owner(keepalive)
    begin = time.monotonic()
    keepalive.schedule(owner, 0.05)
    assert owner.called.wait(PATIENCE)
    assert time.monotonic() - begin >= 0.05
    turns()
    assert owner.calls == 1


def test_cancelled_deadline(keepalive: Keepalive) -> None:
    cancelled, other = Owner(keepalive), Owner(keepalive)
    deadline = keepalive.schedule(cancelled, 0.001)
    keepalive.schedule(other, 0.002)
    keepalive.cancel(deadline)
    keepalive.cancel(deadline)
    assert other.called.wait(PATIENCE)
    assert cancelled.calls == 0


def test_cancelled_deadlines_do_not_pile_up(keepalive: Keepalive) -> None:
    owner = Owner(keepalive)
    live = [keepalive.schedule(owner, 1000) for _ in range(100)]
    for _ in range(10_000):
        keepalive.cancel(keepalive.schedule(owner, 1000))
        assert len(keepalive._heap) <= 2 * (len(live) + MIN_CANCELLED)
    assert sum(deadline.owner is owner for deadline in keepalive._heap) == len(live)


def test_cancelled_deadlines_that_come_due_are_not_counted_twice(keepalive: Keepalive) -> None:
    for _ in range(3):
        for _ in range(50):
            keepalive.cancel(keepalive.schedule(Owner(keepalive), 0))
        owner = Owner(keepalive)
        keepalive.schedule(owner, 0.001)
        assert owner.called.wait(PATIENCE)
    assert (keepalive._heap, keepalive._cancelled) == ([], 0)


@pytest.mark.parametrize("exc", [ZeroDivisionError(), gevent.Timeout(), gevent.GreenletExit()])
def test_error_of_one_does_not_concern_the_others(keepalive: Keepalive, exc: BaseException) -> None:
    bad, good = Owner(keepalive, exc), Owner(keepalive)
    keepalive.schedule(bad, 0)
    keepalive.schedule(good, 0.001)
    assert good.called.wait(PATIENCE)
    assert bad.calls == 1


def test_killed_greenlet_is_replaced(keepalive: Keepalive) -> None:
    owner = Owner(keepalive)
    keepalive.schedule(owner, 0.05)
    for _ in range(3):
        turns()
        assert keepalive._greenlet is not None
        keepalive._greenlet.kill()
    assert owner.called.wait(PATIENCE)


def test_greenlet_killed_before_it_ran_is_replaced(keepalive: Keepalive) -> None:
    owner = Owner(keepalive)
    keepalive.schedule(owner, 0.001)
    assert keepalive._greenlet is not None
    keepalive._greenlet.kill()
    keepalive.schedule(Owner(keepalive), 1000)
    assert owner.called.wait(PATIENCE)


def test_blocked_hub_moves_all_deadlines(keepalive: Keepalive) -> None:
    first, second = Owner(keepalive), Owner(keepalive)
    keepalive.schedule(first, 0.1)
    keepalive.schedule(second, 1.2)
    turns()
    block(1.5)
    assert first.called.wait(PATIENCE)
    # It was due before the hub was free again; now its time is counted from there.
    assert second.calls == 0
    assert second.called.wait(PATIENCE)


def test_waiting_does_not_keep_the_loop_alive(keepalive: Keepalive) -> None:
    keepalive.schedule(Owner(keepalive), 1000)
    turns()
    assert keepalive._timer.ref is False


def greenlets() -> int:
    gc.collect()
    return sum(isinstance(obj, gevent.Greenlet) and not obj.dead for obj in gc.get_objects())


def test_connections_share_one_greenlet() -> None:
    with pair() as _:
        turns()
        one = greenlets()
        with pair() as _, pair() as _, pair() as _:
            turns()
            # For each server, and for each of its connections, the handler's; nothing else.
            assert greenlets() == one + 3
