"""Tests of waiting in line."""

from __future__ import annotations

import gevent
import gevent.event
import pytest

from geventws.net.waiting import WaitingLine


def wait_and_note(line: WaitingLine, notes: list[str], name: str) -> None:
    line.wait()
    notes.append(name)


def test_wakes_all_in_order() -> None:
    line = WaitingLine(gevent.get_hub())
    notes: list[str] = []
    waiting = [gevent.spawn(wait_and_note, line, notes, name) for name in "abc"]
    gevent.sleep(0)
    assert line
    line.wake()
    assert notes == []
    gevent.joinall(waiting, timeout=5, raise_error=True)
    assert notes == ["a", "b", "c"]
    assert not line


@pytest.mark.parametrize("after_wake", [False, True])
@pytest.mark.parametrize("exc", [gevent.GreenletExit, gevent.Timeout])
def test_who_leaves_is_not_switched_to(exc: type[BaseException], after_wake: bool) -> None:
    line = WaitingLine(gevent.get_hub())
    notes: list[str] = []
    left = gevent.event.Event()

    def leave() -> None:
        try:
            line.wait()
        except exc:
            # A switch by mistake would end this wait before its time.
            assert left.wait(5)
            notes.append("left")

    leaving = gevent.spawn(leave)
    staying = gevent.spawn(wait_and_note, line, notes, "woken")
    gevent.sleep(0)
    if after_wake:
        leaving.kill(exc, block=False)
        line.wake()
    else:
        leaving.kill(exc, block=False)
        gevent.sleep(0)
        line.wake()
    staying.get(timeout=5)
    left.set()
    leaving.get(timeout=5)
    assert notes == ["woken", "left"]


def test_waits_again() -> None:
    line = WaitingLine(gevent.get_hub())
    notes: list[str] = []

    def wait_twice() -> None:
        wait_and_note(line, notes, "first")
        wait_and_note(line, notes, "second")

    greenlet = gevent.spawn(wait_twice)
    gevent.sleep(0)
    line.wake()
    gevent.sleep(0)
    gevent.sleep(0)
    assert notes == ["first"]
    assert line
    line.wake()
    greenlet.get(timeout=5)
    assert notes == ["first", "second"]


def test_a_greenlet_that_crashes_does_not_end_the_hub() -> None:
    hub = gevent.get_hub()
    line = WaitingLine(hub)

    def crash() -> None:
        line.wait()
        raise RuntimeError("crash")

    errors: list[object] = []
    handle_error, hub.handle_error = hub.handle_error, lambda *args: errors.append(args[2])
    try:
        gevent.spawn_raw(crash)
        gevent.sleep(0)
        line.wake()
        gevent.sleep(0)
        gevent.sleep(0)
    finally:
        hub.handle_error = handle_error
    assert [str(error) for error in errors] == ["crash"]
