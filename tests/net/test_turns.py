"""Tests of turns of the loop."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import gevent.event
import pytest

from geventws.net.turns import Turns
from tests.net.support import PATIENCE, Polls


@pytest.fixture
def turns() -> Iterator[Turns]:
    turns = Turns(gevent.get_hub())
    yield turns
    turns.stop()


@pytest.fixture
def polls() -> Iterator[Polls]:
    with Polls() as polls:
        yield polls


def test_the_loop_polls_in_between(turns: Turns, polls: Polls) -> None:
    seen: list[int] = []
    done = gevent.event.Event()

    def go_on() -> None:
        seen.append(polls.count)
        if len(seen) < 100:
            turns.add(go_on)
        else:
            done.set()

    turns.add(go_on)
    assert done.wait(PATIENCE)
    # Not as `run_callback`, which would have called all of them between two polls.
    assert seen == sorted(set(seen))


def test_calls_in_order_with_arguments(turns: Turns) -> None:
    calls: list[object] = []
    done = gevent.event.Event()
    turns.add(calls.append, 1)
    turns.add(calls.append, 2)
    turns.add(done.set)
    assert not calls
    assert done.wait(PATIENCE)
    assert calls == [1, 2]
    assert not turns._idle.active


def test_waits_for_a_turn(turns: Turns, polls: Polls) -> None:
    counts = []
    for _ in range(10):
        turns.wait()
        counts.append(polls.count)
    assert counts == sorted(set(counts))


@pytest.mark.parametrize("exc", [gevent.GreenletExit, gevent.Timeout])
def test_who_leaves_does_not_keep_the_others(turns: Turns, exc: type[BaseException]) -> None:
    leaving, staying = gevent.spawn(turns.wait), gevent.spawn(turns.wait)
    gevent.sleep(0)
    leaving.kill(exc, block=False)
    staying.get(timeout=PATIENCE)
    gevent.joinall([leaving], timeout=PATIENCE)
    assert leaving.dead


def test_an_error_does_not_end_the_turns(turns: Turns) -> None:
    hub = gevent.get_hub()
    errors: list[object] = []
    done = gevent.event.Event()

    def fail() -> None:
        raise RuntimeError("broken")

    handle_error, hub.handle_error = hub.handle_error, lambda *args: errors.append(args[2])
    try:
        turns.add(fail)
        turns.add(done.set)
        assert done.wait(PATIENCE)
    finally:
        hub.handle_error = handle_error
    assert [str(error) for error in errors] == ["broken"]


def test_stop_forgets(turns: Turns, polls: Polls) -> None:
    calls: list[object] = []
    turns.add(calls.append, "never")
    turns.stop()
    polls.wait(3)
    assert not calls
    turns.add(calls.append, "again")
    polls.wait(3)
    assert calls == ["again"]
