"""Tests of geventws.net.mailbox: posts from other threads arrive, once and in order."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.monkey import get_original

from geventws.net.mailbox import Mailbox
from tests.net.support import PATIENCE, in_thread, in_threads, start_thread, turns, until


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    mailbox = Mailbox(gevent.get_hub())
    yield mailbox
    mailbox.close()


class Waiting:
    """Somebody who waits for something that happens in the hub."""

    def __init__(self) -> None:
        self.refused = False

    def refuse(self) -> None:
        self.refused = True


def test_posts_arrive_in_order(mailbox: Mailbox) -> None:
    arrived: list[tuple[int, int]] = []

    def post(thread: int) -> list[bool]:
        return [mailbox.post(arrived.append, (thread, number)) for number in range(100)]

    assert in_threads(post, 4) == [[True] * 100] * 4
    until(lambda: len(arrived) == 400)
    for thread in range(4):
        assert [number for who, number in arrived if who == thread] == list(range(100))


def test_posts_arrive_in_the_hub(mailbox: Mailbox) -> None:
    arrived: list[Any] = []
    assert mailbox.post(lambda: arrived.append(gevent.getcurrent()))
    until(lambda: arrived)
    assert arrived == [gevent.get_hub()]


def test_a_waiting_hub_is_woken(mailbox: Mailbox) -> None:
    event = Event()
    in_thread(lambda: mailbox.post(event.set))
    assert event.wait(PATIENCE)


def test_a_post_that_fails_does_not_stop_the_others(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Any] = []
    hub = gevent.get_hub()
    monkeypatch.setattr(hub, "handle_error", lambda *args: errors.append(args[1]))
    event = Event()
    mailbox.post(functools.partial(int, "x"))
    mailbox.post(event.set)
    assert event.wait(PATIENCE)
    assert errors == [ValueError]


def test_bytes_that_wait_are_counted(mailbox: Mailbox) -> None:
    event = Event()
    mailbox.post(int, size=100)
    mailbox.post(event.set, size=11)
    assert mailbox.waiting == 111
    event.wait(PATIENCE)
    assert mailbox.waiting == 0


def test_closed(mailbox: Mailbox) -> None:
    arrived: list[int] = []
    waiting, other = Waiting(), Waiting()
    mailbox.expect(waiting)
    mailbox.expect(other)
    mailbox.finish(other)
    mailbox.post(arrived.append, 1)
    mailbox.close()
    mailbox.close()
    assert mailbox.gone
    assert arrived == [1]
    assert waiting.refused and not other.refused
    assert not mailbox.post(arrived.append, 2)
    assert arrived == [1]


def test_closes_only_if_idle(mailbox: Mailbox) -> None:
    idle: list[bool] = []
    mailbox.on_idle = lambda: idle.append(True)
    waiting = Waiting()
    mailbox.expect(waiting)
    assert not mailbox.close_if_idle()
    mailbox.post(int)
    mailbox.finish(waiting)
    assert idle == [True]
    assert not mailbox.close_if_idle()
    until(mailbox.close_if_idle)
    assert mailbox.gone and not waiting.refused


def test_a_hub_that_others_destroyed_is_gone() -> None:
    found: list[Mailbox] = []

    def destroy(_: int) -> None:
        hub = gevent.get_hub()
        found.append(Mailbox(hub))
        hub.destroy(destroy_loop=True)

    in_threads(destroy, 1)
    assert not found[0].post(int)


def test_a_hub_that_was_destroyed_and_is_not_dead_yet() -> None:
    """Nothing can wake it any more: who posts is told so, and nothing is left behind."""

    def destroy(_: int) -> tuple[bool, bool, int, list[str]]:
        arrived: list[str] = []
        hub = gevent.get_hub()
        gevent.sleep(0)
        box = Mailbox(hub)
        hub.destroy(destroy_loop=True)
        gone = box.gone
        posted = box.post(arrived.append, "too late", size=100)
        waiting = box.waiting
        box._deliver()
        # A fork at this moment must be able to forget it.
        box.abandon()
        if not hub.dead:
            # A greenlet that never ends is never freed.
            hub.throw(gevent.GreenletExit)
        return gone, posted, waiting, arrived

    assert in_threads(destroy, 1) == [(False, False, 0, [])]


def test_a_hub_whose_thread_ended_is_gone() -> None:
    found: list[Mailbox] = []

    def leave(_: int) -> None:
        found.append(Mailbox(gevent.get_hub()))
        gevent.sleep(0)

    in_threads(leave, 1)
    until(lambda: found[0].gone)
    assert not found[0].post(int)


def test_it_does_not_keep_the_loop_alive(mailbox: Mailbox) -> None:
    def wait(_: int) -> bool:
        hub = gevent.get_hub()
        box = Mailbox(hub)
        over: bool = hub.join(timeout=PATIENCE)
        box.close()
        hub.destroy(destroy_loop=True)
        return over

    assert in_threads(wait, 1) == [True]


def test_after_a_fork_all_is_forgotten(mailbox: Mailbox) -> None:
    """Without a fork: what a child does first, in the only thread that it has."""
    arrived: list[int] = []
    waiting = Waiting()
    mailbox.expect(waiting)
    posted = get_original("_thread", "allocate_lock")()
    posted.acquire()

    def post_and_keep_the_lock() -> None:
        mailbox.post(arrived.append, 1)
        # The fork happens while this thread of the parent process has it.
        mailbox._lock.acquire()
        posted.release()

    start_thread(post_and_keep_the_lock, ())
    # Natively: the hub must not get at the post.
    assert posted.acquire(timeout=PATIENCE)
    mailbox.abandon()
    assert mailbox.gone
    assert not mailbox.post(arrived.append, 2)
    mailbox.close()
    turns()
    assert arrived == []
    # It waits in the parent process.
    assert not waiting.refused
