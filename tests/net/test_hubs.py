"""Tests of geventws.net.hubs: threads, forks, and what the connections of a hub share."""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import gevent
import gevent.monkey
import pytest
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event

from geventws import (
    ClientConnection,
    ConcurrencyError,
    Opcode,
    ServerConnection,
    State,
    connect,
    unix_connect,
)
from geventws.net.hubs import HubState, get_hub_state
from geventws.net.threads import get_ident
from tests.net.support import (
    PATIENCE,
    echo,
    in_child,
    in_thread,
    in_threads,
    pair,
    raw_client,
    run_program,
    serving,
    serving_elsewhere,
    until,
    uri_of,
)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


linux = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")


# One state for each hub.


def test_state_is_the_hubs() -> None:
    state = get_hub_state()
    assert state is get_hub_state()
    assert gevent.spawn(get_hub_state).get() is state
    assert state.hub is gevent.get_hub()
    assert state.thread == get_ident()


def test_connections_of_a_hub_share_its_state() -> None:
    with pair() as (client, server):
        assert client._state is server._state is get_hub_state()


def test_open_connections_are_known() -> None:
    state = get_hub_state()
    before = len(state.streams)
    with pair() as (client, server):
        assert {client, server} <= state.streams
    assert len(state.streams) == before


def test_connection_that_cannot_be_made_is_forgotten() -> None:
    state = get_hub_state()
    before = len(state.streams)

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise ZeroDivisionError

    with serving(echo) as server:
        with pytest.raises(ZeroDivisionError):
            connect(uri_of(server), create_connection=fail)
    assert len(state.streams) == before


# Threads.


def test_threads_have_hubs_of_their_own() -> None:
    with serving(echo) as server:
        uri = uri_of(server)

        def talk(number: int) -> HubState:
            with connect(uri) as one, connect(uri) as two:
                for message in range(20):
                    for ws in (one, two):
                        ws.send(f"{number} {message}")
                        assert ws.recv() == f"{number} {message}"
                return one._state

        states = in_threads(talk, 4)
        assert len({id(state) for state in states}) == 4
        assert len({state.thread for state in states} | {get_ident()}) == 5
        assert all(state.created_hub for state in states)


def test_ten_connections_in_each_of_four_threads() -> None:
    with serving(echo) as server:
        uri = uri_of(server)

        def talk(number: int) -> int:
            with contextlib.ExitStack() as stack:
                connections = [stack.enter_context(connect(uri)) for _ in range(10)]

                def exchange(ws: ClientConnection) -> int:
                    for message in range(20):
                        ws.send(f"{number} {message}")
                        assert ws.recv() == f"{number} {message}"
                    return 20

                greenlets = [gevent.spawn(exchange, ws) for ws in connections]
                return sum(greenlet.get() for greenlet in greenlets)

        assert in_threads(talk, 4) == [200] * 4


@linux
def test_threads_leave_no_descriptors_behind() -> None:
    with serving(echo) as server:
        uri = uri_of(server)

        def talk(number: int) -> None:
            # Two connections, one after the other, and two at a time.
            for _ in range(2):
                with connect(uri) as ws, connect(uri):
                    ws.send("x")
                    assert ws.recv() == "x"

        in_threads(talk, 1)
        before = descriptors()
        for _ in range(10):
            in_threads(talk, 5)
        # The server's end of the last ones is closed a moment later.
        until(lambda: descriptors() <= before)


def test_hub_that_others_made_is_not_destroyed() -> None:
    with serving(echo) as server:
        uri = uri_of(server)

        def talk(_: int) -> bool:
            hub = gevent.get_hub()
            with connect(uri):
                pass
            gevent.sleep(0.001)
            same = gevent.get_hub() is hub
            hub.destroy(destroy_loop=True)
            return same

        assert in_threads(talk, 1) == [True]


def test_hub_is_not_destroyed_while_a_connection_is_open() -> None:
    with serving(echo) as server:
        uri = uri_of(server)

        def talk(_: int) -> Any:
            with connect(uri) as one:
                with connect(uri):
                    pass
                one.send("still there")
                return one.recv()

        assert in_threads(talk, 1) == ["still there"]


def test_hub_that_never_ran_is_destroyed(tmp_path: pathlib.Path) -> None:
    def fail() -> Any:
        with pytest.raises(FileNotFoundError):
            unix_connect(tmp_path / "socket")
        return get_hub_if_exists()

    assert in_thread(fail) is None


class Slow(logging.Handler):
    """Waits at one line, as for a lock that another thread has, until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.blocked, self.go_on = Event(), Event()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "< TEXT 'slow' [4 bytes]":
            self.blocked.set()
            self.go_on.wait()
        self.messages.append(record.getMessage())

    def handle(self, record: logging.LogRecord) -> bool:
        """Do without a lock: the wait is what matters."""
        self.emit(record)
        return True


@pytest.mark.parametrize("goes_on", [True, False], ids=["goes-on", "never"])
def test_hub_is_not_destroyed_at_once_under_who_waits_in_a_log_handler(goes_on: bool) -> None:
    """It would never leave it: neither its lines nor the handler's lock would be seen again.

    Who waits for ever, as for a lock of a hub that is destroyed, does not hold up the rest.
    """

    def talk() -> tuple[bool, list[str]]:
        handler = Slow()
        logger = logging.Logger("slow", logging.DEBUG)
        logger.addHandler(handler)
        ws = connect(uri_of(server), logger=logger, compression=None)
        state = ws._state
        assert handler.blocked.wait(PATIENCE)
        ws._lost()
        assert ws.wait_closed(PATIENCE)
        if goes_on:
            state.loop.run_callback(handler.go_on.set)
        ws.close()
        return state.released, handler.messages

    def handler(ws: ServerConnection) -> None:
        ws.send("slow")
        ws.wait_closed(PATIENCE)

    with serving(handler) as server:
        released, messages = in_thread(talk)
    assert released
    assert ("< TEXT 'slow' [4 bytes]" in messages) is goes_on


def test_hub_is_destroyed_only_by_the_main_greenlet() -> None:
    """Others would end with it, and could not say so."""
    with serving(echo) as server:
        uri = uri_of(server)

        def talk() -> bool:
            ws = connect(uri)
            hub = gevent.get_hub()
            gevent.spawn(ws.close).get()
            assert get_hub_if_exists() is hub
            # It may be used as before.
            with connect(uri) as another:
                another.send("x")
                assert another.recv() == "x"
            return get_hub_if_exists() is None

        assert in_thread(talk)


# How to use what a connection has, where that moves bytes or waits...
USES: dict[str, list[Callable[[Any], Any]]] = {
    "recv": [lambda ws: ws.recv(), lambda ws: ws.recv(timeout=0)],
    "recv_streaming": [lambda ws: next(ws.recv_streaming())],
    "__iter__": [lambda ws: next(iter(ws))],
    "send": [lambda ws: ws.send("x"), lambda ws: ws.send(["x"])],
    "batch": [lambda ws: ws.batch().__enter__()],
    "ping": [lambda ws: ws.ping()],
    "pong": [lambda ws: ws.pong()],
    "close": [lambda ws: ws.close()],
    "wait_closed": [lambda ws: ws.wait_closed()],
    "__exit__": [
        lambda ws: ws.__exit__(None, None, None),
        lambda ws: ws.__exit__(gevent.GreenletExit, gevent.GreenletExit(), None),
    ],
}

# ...and what any thread may use: facts, and what is made for it.
ANYWHERE = {
    "__enter__",
    "close_code",
    "close_reason",
    "id",
    "latency",
    "local_address",
    "logger",
    "path",
    "remote_address",
    "request",
    "request_headers",
    "respond",
    "response",
    "response_headers",
    "send_threadsafe",
    "server",
    "ssl_object",
    "state",
    "subprotocol",
    "username",
}

# What only the hub calls.
INTERNAL = {"abandon", "on_deadline"}


def test_every_use_from_another_thread_is_known() -> None:
    names = {name for name in dir(ServerConnection) if not name.startswith("_")}
    names |= {name for name in dir(ClientConnection) if not name.startswith("_")}
    assert names | {"__enter__", "__exit__", "__iter__"} == USES.keys() | ANYWHERE | INTERNAL


@pytest.mark.parametrize("use", [use for uses in USES.values() for use in uses])
def test_use_from_another_thread_is_refused(use: Callable[[Any], Any]) -> None:
    with raw_client() as (peer, ws):

        def trespass(_: int) -> tuple[int, str]:
            with pytest.raises(ConcurrencyError) as info:
                use(ws)
            return get_ident(), str(info.value)

        ((thread, message),) = in_threads(trespass, 1)
        assert message == (
            f"this connection belongs to thread {get_ident()} and was used in thread {thread}; "
            "there, only send_threadsafe() and broadcast() may be used"
        )
        # It is none the worse for it.
        ws.send("fine")
        frame = peer.recv_frame()
        assert frame is not None
        assert frame.data == b"fine"


def test_facts_are_known_in_other_threads() -> None:
    with pair() as (client, _):

        def look(_: int) -> list[Any]:
            return [getattr(client, name) for name in sorted(ANYWHERE) if hasattr(client, name)]

        here = look(0)
        (there,) = in_threads(look, 1)
        assert [str(fact) for fact in there] == [str(fact) for fact in here]


def test_pings_are_not_waited_for_in_other_threads() -> None:
    with raw_client() as (peer, ws):
        ping = ws.ping("data")

        def wait(_: int) -> str:
            with pytest.raises(ConcurrencyError) as info:
                ping.wait()
            return str(info.value)

        (message,) = in_threads(wait, 1)
        assert message.startswith(f"this ping belongs to thread {get_ident()} and was waited for")
        peer.send_frame(Opcode.PONG, b"data")
        assert ping.wait(PATIENCE)
        # Now nobody has to wait.
        assert in_thread(ping.wait) is True


# Forks.

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

FORK = """
import os, sys
if sys.argv[1] == "patched":
    from gevent import monkey; monkey.patch_all()
import gevent, gevent.os
from gevent import socket
from geventws import ConnectionClosed, State, connect, serve

def echo(ws):
    for message in ws:
        ws.send(message)

with serve(echo, "127.0.0.1", 0, compression=None) as server:
    options = {"ping_interval": 0.05, "compression": None}
    ws = connect(f"ws://127.0.0.1:{server.address[1]}/", **options)
    ws.send("before")
    assert ws.recv() == "before"
    receiver = gevent.spawn(lambda: [ws.recv() for _ in range(20)])
    gevent.sleep(0.01)
    # Who is forked by gevent is waited for by gevent.
    module = {"fork": os, "gevent": gevent.os}[sys.argv[2]]
    pid = module.fork()
    if not pid:
        # The parent's connections are none of ours, on either side.
        code = 1
        try:
            gevent.sleep(0.3)
            assert ws.state is State.CLOSED, ws.state
            assert not server.connections
            for use in (ws.recv, lambda: ws.send("intruder"), ws.ping):
                try:
                    use()
                except ConnectionClosed as exc:
                    assert str(os.getppid()) in str(exc.__cause__), exc.__cause__
                else:
                    raise AssertionError(use)
            ws.close()
            # Connections of our own work.
            if sys.argv[3] == "connect":
                with connect(sys.argv[4]) as own:
                    own.send("child")
                    assert own.recv() == "child"
            code = 0
        except BaseException:
            import traceback; traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    for number in range(20):
        ws.send(str(number))
        gevent.sleep(0.02)
    assert receiver.get(timeout=10) == [str(number) for number in range(20)]
    while True:
        done, status = module.waitpid(pid, os.WNOHANG)
        if done:
            break
        gevent.sleep(0.01)
    assert status == 0, status
    assert ws.ping().wait(10)
    ws.close()
    assert ws.close_code == 1000
print("fine", flush=True)
"""


@forks
@pytest.mark.parametrize("fork", ["fork", "gevent"])
@pytest.mark.parametrize("patched", ["patched", "unpatched"])
def test_fork_leaves_the_connections_to_the_parent(patched: str, fork: str) -> None:
    with serving(echo) as server:
        assert run_program(FORK, patched, fork, "connect", uri_of(server)) == ("fine\n", "", 0)


@forks
def test_fork_leaves_the_hubs_of_other_threads_to_the_parent() -> None:
    with serving_elsewhere(echo) as server, connect(uri_of(server)) as ws:
        until(lambda: server.connections)
        (theirs,) = server.connections

        def check() -> None:
            assert ws.state is theirs.state is State.CLOSED
            assert not theirs._state.streams
            # Nobody would deliver it.
            assert theirs._state.mailbox.gone
            assert not get_hub_state().mailbox.gone

        in_child(check)
        ws.send("still here")
        assert ws.recv(PATIENCE) == "still here"


@forks
def test_fork_forgets_the_connections_of_other_hubs_if_one_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: told.append(what.exc_value))

    class Broken:
        """A connection that cannot be forgotten."""

        def abandon(self) -> None:
            raise RuntimeError("broken")

    def use_hub() -> HubState:
        hub, state = gevent.get_hub(), get_hub_state()
        hub.destroy(destroy_loop=True)
        return state

    with serving(echo) as server, connect(uri_of(server)) as ws:
        # Its thread has destroyed it, and not geventws, which did not make it.
        state = in_thread(use_hub)
        assert state.hub.loop is None
        state.streams.add(Broken())

        def check() -> None:
            assert ws.state is State.CLOSED
            assert not server.connections
            assert not get_hub_state().mailbox.gone
            (group,) = told
            assert group.message == "cannot forget connections after a fork"
            # libev finds fault with the loop of another test's hub, as long as it is remembered.
            errors = [str(exc) for exc in group.exceptions if not isinstance(exc, ValueError)]
            assert errors == ["broken"]

        in_child(check)
        state.streams.clear()
        ws.send("still here")
        assert ws.recv(PATIENCE) == "still here"
