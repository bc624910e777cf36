"""Tests of geventws.net.hub_thread: a thread that lives as long as its connections."""

from __future__ import annotations

import functools
import os
from typing import Any

import gevent
import pytest

from geventws import ServerConnection, connect
from geventws.net import hub_thread
from geventws.net.calls import HubGone
from geventws.net.hub_thread import HubThread, shared_thread
from geventws.testing import RawServer
from tests.net.support import PATIENCE, echo, in_threads, run_program, serving, until, uri_of


def tasks() -> int:
    """The number of native threads of this process."""
    return len(os.listdir("/proc/self/task"))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


linux = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="looks into /proc")


def test_connections_share_a_thread_which_ends_with_the_last() -> None:
    with serving(echo) as server:
        open_here = functools.partial(connect, uri_of(server))
        thread = shared_thread()
        one, two = thread.open(open_here), thread.open(open_here)
        assert one._state is two._state is thread.state
        thread.run(one.close)
        assert shared_thread() is thread
        assert thread.run(lambda: two.ping().wait(PATIENCE))
        thread.run(two.close)
        until(lambda: thread.mailbox.gone)
        with pytest.raises(HubGone):
            thread.open(open_here)
        # Whatever does not wait still works.
        thread.run(two.close)
        assert thread.run(two.wait_closed)
        assert two.close_code == 1000
        assert shared_thread() is not thread


def test_a_thread_whose_first_connection_fails_ends() -> None:
    thread = shared_thread()
    with pytest.raises(ZeroDivisionError):
        thread.open(lambda: 1 // 0)  # type: ignore[arg-type, return-value]
    until(lambda: thread.mailbox.gone)


def test_one_thread_however_many_begin_at_once() -> None:
    with serving(echo) as server:
        uri = uri_of(server)
        found = in_threads(lambda _: connect(uri, background=True), 8)
        threads = {ws._thread for ws in found}
        for ws in found:
            ws.close()
    assert len(threads) == 1


def test_a_thread_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise OSError("Too many open files")

    monkeypatch.setattr(hub_thread, "get_hub_state", fail)
    with pytest.raises(OSError, match="Too many open files"):
        HubThread()


@linux
def test_fifty_in_a_row_leave_nothing_behind() -> None:
    with serving(echo) as server:
        uri = uri_of(server)

        def talk() -> None:
            with connect(uri, background=True) as ws:
                ws.send("x")
                assert ws.recv() == "x"

        before = tasks(), descriptors()
        for _ in range(50):
            talk()
        until(lambda: tasks() <= before[0] and descriptors() <= before[1])


# The ends of processes.

FINE = "fine\n", "", 0

SCRIPT = """
import sys, threading
if sys.argv[1] == "patched":
    from gevent import monkey; monkey.patch_all()
import geventws
ws = geventws.connect(sys.argv[2], background=True, close_timeout=60)
ws.send("x")
assert ws.recv() == "x"
ws.send("the last")
print("fine", flush=True)
"""


both = pytest.mark.parametrize("patched", ["patched", "unpatched"])


@both
def test_an_interpreter_that_exits_closes_its_connections(patched: str) -> None:
    ends: list[Any] = []

    def handler(ws: ServerConnection) -> None:
        received = []
        try:
            for message in ws:
                received.append(message)
                ws.send(message)
        finally:
            ends.append((received, ws.close_code))

    with serving(handler) as server:
        assert run_program(SCRIPT, patched, uri_of(server)) == FINE
        until(lambda: ends)
    assert ends == [(["x", "the last"], 1001)]


def test_an_interpreter_does_not_wait_long_for_peers_that_do_not_answer() -> None:
    with RawServer() as server:
        running = gevent.spawn(run_program, SCRIPT, "unpatched", server.uri)
        peer = server.accept()
        frame = peer.recv_frame()
        assert frame is not None
        peer.send_frame(frame.opcode, frame.data)
        assert running.get(timeout=PATIENCE * 2) == FINE
        peer.close()


FORK = """
import os, sys, warnings
# Python 3.12 and later: threads do not go on in the child. That is what is tested.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
if sys.argv[1] == "patched":
    from gevent import monkey; monkey.patch_all()
import geventws

ws = geventws.connect(sys.argv[2], background=True)
streaming = ws.recv_streaming()
pid = os.fork()
if not pid:
    for use in (ws.recv, lambda: ws.send("intruder"), lambda: ws.send(["intruder"]), ws.ping,
                ws.pong, lambda: next(streaming), lambda: list(ws)):
        try:
            use()
        except geventws.ConnectionClosed as exc:
            parent, child = str(os.getppid()), str(os.getpid())
            assert parent in str(exc.__cause__) and child in str(exc.__cause__), exc.__cause__
        else:
            raise AssertionError(use)
    assert ws.state is geventws.State.CLOSED and ws.wait_closed()
    ws.close()
    with geventws.connect(sys.argv[2], background=True) as own:
        own.send("child")
        assert own.recv() == "child"
    sys.exit(7)
for number in range(20):
    ws.send(str(number))
    assert ws.recv() == str(number)
_, status = os.waitpid(pid, 0)
assert os.waitstatus_to_exitcode(status) == 7, status
ws.send("x")
assert ws.recv() == "x"
ws.close()
assert ws.close_code == 1000
print("fine", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@both
def test_fork_leaves_the_connections_to_the_parent(patched: str) -> None:
    with serving(echo) as server:
        assert run_program(FORK, patched, uri_of(server)) == FINE
