"""Tests of geventws.net.calls: calls to the hub of another thread, from threads with and without.

The hub that is called is this thread's. The callers are native threads, without a hub, so that
they block, or with one, whose other greenlets go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.monkey import get_original

from geventws.net.calls import HubGone, call
from geventws.net.mailbox import Mailbox
from geventws.net.threads import get_ident
from tests.net.support import PATIENCE, in_thread, in_threads, start_thread, until

native_sleep = get_original("time", "sleep")


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    mailbox = Mailbox(gevent.get_hub())
    yield mailbox
    mailbox.close()


def without_hub(function: Callable[[], Any]) -> Any:
    """Call a function in a native thread without a hub."""
    return in_thread(function)


def with_hub(function: Callable[[], Any]) -> Any:
    """Call a function in a native thread with a hub, whose other greenlets must go on."""

    def run(_: int) -> Any:
        hub = gevent.get_hub()
        ticks = []

        def tick() -> None:
            while True:
                gevent.sleep(0.001)
                ticks.append(True)

        ticking = gevent.spawn(tick)
        start = time.monotonic()
        try:
            return function()
        finally:
            waited = time.monotonic() - start
            ticking.kill()
            hub.destroy(destroy_loop=True)
            assert ticks or waited < 0.1

    (result,) = in_threads(run, 1)
    return result


both = pytest.mark.parametrize("calling", [without_hub, with_hub])


@both
def test_returns_what_the_function_returns(calling: Any, mailbox: Mailbox) -> None:
    def work(number: int) -> tuple[int, int]:
        gevent.sleep(0.01)
        return number, get_ident()

    assert calling(lambda: call(mailbox, work, (1,))) == (1, get_ident())


@both
def test_raises_what_the_function_raises(calling: Any, mailbox: Mailbox) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        calling(lambda: call(mailbox, int, ("x",)))


@both
def test_calls_in_a_row(calling: Any, mailbox: Mailbox) -> None:
    numbers: list[int] = []

    def work() -> None:
        for number in range(100):
            call(mailbox, numbers.append, (number,))

    calling(work)
    assert numbers == list(range(100))


def test_calls_of_its_own_hub(mailbox: Mailbox) -> None:
    assert call(mailbox, get_ident) == get_ident()


@both
def test_timeout(calling: Any, mailbox: Mailbox) -> None:
    called: list[int] = []
    ready = Event()
    with pytest.raises(TimeoutError, match=r"timed out in 0.0s"):
        calling(lambda: call(mailbox, called.append, (1,), prepare=ready.wait, timeout=0.01))
    ready.set()
    gevent.sleep(0.01)
    assert not called


def test_timeout_of_a_hub_that_is_blocked(mailbox: Mailbox) -> None:
    called: list[int] = []
    results: list[Any] = []

    def work() -> None:
        try:
            results.append(call(mailbox, called.append, (1,), timeout=0.01))
        except BaseException as exc:
            results.append(exc)

    start_thread(work, ())
    start = time.monotonic()
    while not results and time.monotonic() - start < PATIENCE:
        native_sleep(0.001)
    assert isinstance(results[0], TimeoutError)
    gevent.sleep(0.01)
    assert not called


def test_what_is_prepared_is_not_cancelled(mailbox: Mailbox) -> None:
    """At the end of its timeout, the function is already being called."""
    began = []

    def work() -> str:
        began.append(True)
        native_sleep(0.05)
        return "done"

    assert without_hub(lambda: call(mailbox, work, prepare=int, timeout=0.02)) == "done"
    assert began


def test_a_killed_caller_cancels(mailbox: Mailbox) -> None:
    ended: list[BaseException] = []
    begun, over = Event(), Event()

    def work() -> None:
        begun.set()
        try:
            gevent.sleep(PATIENCE)
        except BaseException as exc:
            ended.append(exc)
            over.set()
            raise

    caller = gevent.spawn(call, mailbox, work)
    assert begun.wait(PATIENCE)
    caller.kill()
    assert over.wait(PATIENCE)
    assert isinstance(ended[0], gevent.GreenletExit)


def test_undo_for_a_caller_that_went_away(mailbox: Mailbox) -> None:
    undone: list[str] = []
    begun = Event()

    def work() -> str:
        begun.set()
        try:
            gevent.sleep(PATIENCE)
        except gevent.GreenletExit:
            return "too late"
        return "in time"

    caller = gevent.spawn(call, mailbox, work, (), undone.append)
    assert begun.wait(PATIENCE)
    caller.kill()
    until(lambda: undone)
    assert undone == ["too late"]


def test_nothing_is_lost_when_callers_are_interrupted(mailbox: Mailbox) -> None:
    """Each number is either returned, or taken back, whenever the caller goes away."""
    numbers = list(range(200))
    results: list[int] = []
    interrupted: list[int] = []
    loop = gevent.get_hub().loop

    def interrupt() -> None:
        caller.kill(gevent.Timeout, block=False)

    def take() -> int:
        calls = len(results) + len(interrupted)
        if calls % 5 == 0:
            interrupt()
        gevent.sleep(0)
        if calls % 5 == 1:
            interrupt()
        elif calls % 5 == 2:
            loop.run_callback(interrupt)
        elif calls % 5 == 3:
            loop.run_callback(loop.run_callback, interrupt)
        return numbers.pop(0)

    def work() -> None:
        while len(results) < 200:
            try:
                results.append(call(mailbox, take, (), lambda number: numbers.insert(0, number)))
            except gevent.Timeout:
                interrupted.append(len(results))

    caller = gevent.spawn(work)
    caller.get(timeout=PATIENCE)
    assert len(interrupted) > 50
    assert results == list(range(200))


@both
def test_hub_that_is_gone(calling: Any) -> None:
    gone = Mailbox(gevent.get_hub())
    gone.close()
    with pytest.raises(HubGone):
        calling(lambda: call(gone, int))


@both
def test_hub_that_goes_away_meanwhile(calling: Any) -> None:
    mailbox = Mailbox(gevent.get_hub())
    begun = Event()

    def work() -> None:
        begun.set()
        gevent.sleep(PATIENCE)

    def leave() -> None:
        begun.wait(PATIENCE)
        mailbox.close()

    gevent.spawn(leave)
    with pytest.raises(HubGone):
        calling(lambda: call(mailbox, work))


def test_ctrl_c_in_the_called_thread_is_its_own(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = gevent.get_hub()
    errors: list[Any] = []
    monkeypatch.setattr(hub, "handle_system_error", lambda *args: errors.append(args[0]))

    def work() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        without_hub(lambda: call(mailbox, work))
    assert errors == [KeyboardInterrupt]


@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_a_thread_that_ends_without_destroying_its_hub(timeout: float | None) -> None:
    boxes: list[Mailbox] = []
    lock = get_original("_thread", "allocate_lock")()
    lock.acquire()

    def live() -> None:
        boxes.append(Mailbox(gevent.get_hub()))
        gevent.sleep(0)
        lock.acquire()

    start_thread(live, ())
    until(lambda: boxes)
    calling = gevent.spawn(call, boxes[0], print, timeout=timeout)
    # The call is posted, and nobody will deliver it.
    until(lambda: boxes[0]._posts)
    lock.release()
    with pytest.raises(HubGone):
        calling.get(timeout=PATIENCE)
