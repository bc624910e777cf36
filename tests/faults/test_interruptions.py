"""Kills and timeouts at every point where an operation lets others run."""

from __future__ import annotations

import contextlib
import itertools
import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import GreenletExit

from geventws import ConnectionClosed, InvalidMessage, State, connect
from geventws.net.server import ServingGreenlet
from tests.faults.census import leaves_nothing
from tests.faults.interrupter import Interrupter, Interruption, at_every_switch, check_places
from tests.faults.relay import Relay
from tests.modes import LONG
from tests.net.support import PATIENCE, client_tls, echo, pair, server_tls, serving, until, uri_of

# A kill or a timeout, with or without TLS, at once or so many turns of the loop later, when what
# the victim waits for may have happened.
WAYS = list(itertools.product([GreenletExit, Interruption], [False, True], [0, 1, 2]))
# Of which some are enough for a start.
SOME_WAYS = [WAYS[0], WAYS[10]]

in_every_way = pytest.mark.parametrize(
    ("exc", "tls", "late"),
    WAYS if LONG else SOME_WAYS,
    ids=lambda value: getattr(value, "__name__", None),
)


def interrupt(interrupter: Interrupter, function: Callable[[], Any]) -> Any:
    """Run a function in the victim's greenlet; return its result, None if it was interrupted."""

    def call() -> Any:
        with interrupter.catching():
            return function()

    victim = gevent.Greenlet(call)
    interrupter.is_victim = lambda glet: glet is victim
    with interrupter:
        victim.start()
        victim.join(PATIENCE)
    assert victim.dead, f"it hangs at switch {interrupter.at}"
    result = victim.get()
    assert interrupter.caught is interrupter.thrown, f"swallowed at switch {interrupter.at}"
    return result


def again(interrupter: Interrupter, function: Callable[[], Any]) -> Any:
    """Call a function until it is not interrupted."""
    while True:
        with interrupter.catching():
            return function()


@contextlib.contextmanager
def errors_of_servers() -> Iterator[list[Any]]:
    """What servers log as errors in a block: the types of the exceptions."""
    types: list[Any] = []

    def note(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR:
            types.append(record.exc_info[0] if record.exc_info else None)
        return True

    logger = logging.getLogger("geventws.server")
    logger.addFilter(note)
    try:
        yield types
    finally:
        logger.removeFilter(note)


def ends(ws: Any) -> bool:
    return bool(ws.wait_closed(PATIENCE)) and ws.state is State.CLOSED


def secure(tls: bool) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Options for `serve` and for `connect`, and the scheme."""
    return ({"ssl": server_tls()}, {"ssl": client_tls()}, "wss") if tls else ({}, {}, "ws")


@in_every_way
@leaves_nothing
def test_connect(exc: type[BaseException], tls: bool, late: int) -> None:
    at_server, at_client, scheme = secure(tls)

    def run(interrupter: Interrupter) -> None:
        ws = interrupt(interrupter, lambda: connect(uri_of(server, scheme), **at_client))
        if not interrupter.caught:
            with ws:
                ws.send("hello")
                assert ws.recv() == "hello"
        until(lambda: not server._roster.greenlets)

    with serving(echo, **at_server) as server:
        places = at_every_switch(run, exc, late)
    check_places(places, "dialing.dial", "client_connection._receive_response")
    assert ("opening._shake_tls" in places) is tls


@in_every_way
@leaves_nothing
def test_server(exc: type[BaseException], tls: bool, late: int) -> None:
    """From accepting a connection to its end: the opening handshake, the handler, closing."""
    at_server, at_client, scheme = secure(tls)
    # A kill is no error.
    code, errors = (1001, []) if exc is GreenletExit else (1011, [exc])

    def run(interrupter: Interrupter) -> None:
        interrupter.is_victim = lambda glet: type(glet) is ServingGreenlet
        logged.clear()
        with interrupter:
            # In pieces, so that the server must wait for them.
            relay = Relay(server.address, piece=100)
            uri = f"{scheme}://{relay.host}:{relay.port}/"
            try:
                with relay, connect(uri, server_hostname="localhost", **at_client) as ws:
                    ws.send("hello")
                    assert ws.recv() == "hello"
                    ws.wait_closed(PATIENCE)
                # The server was done, or about to be.
                assert ws.close_code in ((1000, code) if interrupter.thrown else (1000,))
            except ConnectionClosed as closed:
                # The handler was interrupted, or the handshake when the response was sent.
                assert closed.code == code and interrupter.thrown
            except (InvalidMessage, OSError):
                # There was no response.
                assert interrupter.thrown
            until(lambda: not server._roster.greenlets and not server._state.streams)
        until(lambda: logged == (errors if interrupter.thrown else []))
        assert interrupter.victim.exception is None

    def handler(ws: Any) -> None:
        ws.send(ws.recv())

    with errors_of_servers() as logged, serving(handler, **at_server) as server:
        places = at_every_switch(run, exc, late)
    check_places(places, "server_connection._receive_request", "server_connection._run")
    check_places(places, "receiving._wait_for_message", "connection.close")
    assert ("opening._shake_tls" in places) is tls


@in_every_way
@leaves_nothing
def test_recv(exc: type[BaseException], tls: bool, late: int) -> None:
    def feed(peer: Any) -> None:
        for message in ("one", ["tw", "o"], "three"):
            peer.send(message)
            gevent.sleep(0.001)
        peer.close()

    def receive(interrupter: Interrupter, ws: Any) -> list[Any]:
        messages = []
        while True:
            try:
                messages.append(again(interrupter, ws.recv))
            except ConnectionClosed as closed:
                return [*messages, closed.code]

    def run(interrupter: Interrupter) -> None:
        with pair(tls=tls) as (ws, peer):
            feeder = gevent.spawn(feed, peer)
            messages = interrupt(interrupter, lambda: receive(interrupter, ws))
            assert messages == ["one", "two", "three", 1000]
            feeder.get(timeout=PATIENCE)

    check_places(at_every_switch(run, exc, late), "receiving._wait_for_message")


@in_every_way
@leaves_nothing
def test_recv_streaming(exc: type[BaseException], tls: bool, late: int) -> None:
    def fragments() -> Iterator[str]:
        for fragment in ("a", "b", "c"):
            yield fragment
            gevent.sleep(0.001)

    def feed(peer: Any) -> None:
        peer.send(fragments())
        peer.send("next")

    def receive(interrupter: Interrupter, ws: Any) -> tuple[list[str], str]:
        parts = []
        with interrupter.catching():
            for part in ws.recv_streaming():
                parts.append(part)
        return parts, again(interrupter, ws.recv)

    def run(interrupter: Interrupter) -> None:
        with pair(tls=tls) as (ws, peer):
            feeder = gevent.spawn(feed, peer)
            parts, message = interrupt(interrupter, lambda: receive(interrupter, ws))
            # What is left of an abandoned message is discarded, and nothing else is.
            assert "abc".startswith("".join(parts))
            assert message == ("next" if parts else "abc")
            feeder.get(timeout=PATIENCE)

    check_places(at_every_switch(run, exc, late), "receiving.recv_streaming")


def narrow(ws: Any, peer: Any) -> None:
    """Let the kernel take little at a time; with less it would wait for more."""
    ws._transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    peer._transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)


# More than the kernel and the queue take.
LARGE = [bytes([number]) * 600_000 for number in range(4)]


@in_every_way
@leaves_nothing
def test_send(exc: type[BaseException], tls: bool, late: int) -> None:
    # The large ones must wait, and the small ones give way to others.
    messages = [*LARGE, *[b"small"] * 200]

    def send_all(interrupter: Interrupter, ws: Any) -> None:
        for message in messages:
            again(interrupter, lambda message=message: ws.send(message))
        again(interrupter, ws.close)

    def run(interrupter: Interrupter) -> None:
        with pair(tls=tls) as (ws, peer):
            narrow(ws, peer)
            receiver = gevent.spawn(list, peer)
            interrupt(interrupter, lambda: send_all(interrupter, ws))
            assert receiver.get(timeout=PATIENCE) == messages
            assert ws.close_code == 1000

    places = at_every_switch(run, exc, late)
    check_places(places, "stream._wait_for_turn", "sending._give_way", "connection.close")


@in_every_way
@leaves_nothing
def test_send_in_fragments(exc: type[BaseException], tls: bool, late: int) -> None:
    def run(interrupter: Interrupter) -> None:
        with pair(tls=tls, server={"max_size": None}) as (ws, peer):
            narrow(ws, peer)
            receiver = gevent.spawn(receive, peer)
            interrupt(interrupter, lambda: ws.send(LARGE))
            if not interrupter.caught:
                ws.close()
                assert receiver.get(timeout=PATIENCE) == b"".join(LARGE)
            else:
                # A message without an end, which nobody may take for a whole one.
                closed = receiver.get(timeout=PATIENCE)
                assert closed.rcvd.code == 1011
                assert closed.rcvd.reason == "error in fragmented message"
            assert ends(ws) and ends(peer)

    def receive(ws: Any) -> Any:
        try:
            return ws.recv()
        except ConnectionClosed as closed:
            return closed

    places = at_every_switch(run, exc, late)
    check_places(places, "sending._send_fragments", "stream._wait_for_turn")


@in_every_way
@leaves_nothing
def test_close(exc: type[BaseException], tls: bool, late: int) -> None:
    """Closing goes on without whoever asked for it."""

    def run(interrupter: Interrupter) -> None:
        with pair(tls=tls) as (ws, peer):
            ws.send("last")
            interrupt(interrupter, ws.close)
            assert peer.recv() == "last"
            assert ends(ws) and ends(peer)
            assert ws.close_code == peer.close_code == 1000

    check_places(at_every_switch(run, exc, late), "link._wait_ended")


@in_every_way
@leaves_nothing
def test_with(exc: type[BaseException], tls: bool, late: int) -> None:
    """The end of a ``with`` block, and what is inside."""

    def use(ws: Any) -> None:
        with ws:
            assert ws.ping().wait(PATIENCE)

    def run(interrupter: Interrupter) -> None:
        with pair(tls=tls) as (ws, peer):
            interrupt(interrupter, lambda: use(ws))
            assert ends(ws) and ends(peer)
            codes = [1000, 1001 if exc is GreenletExit else 1011] if interrupter.caught else [1000]
            assert peer.close_code in codes

    places = at_every_switch(run, exc, late)
    check_places(places, "pings.wait", "connection.__exit__", "link._wait_ended")
