"""Kills and timeouts at every point where an operation lets others run."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import GreenletExit

from geventws import ClientConnection, ConnectionClosed, InvalidHandshake, State, connect
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

INTERRUPTIONS = (GreenletExit, Interruption)


def interrupt(interrupter: Interrupter, function: Callable[[], Any]) -> Any:
    """Run a function in the victim's greenlet; return what it returns or raises there."""

    def call() -> Any:
        try:
            return function()
        except (*INTERRUPTIONS, ConnectionClosed) as exc:
            return exc

    victim = gevent.Greenlet(call)
    interrupter.is_victim = lambda glet: glet is victim
    with interrupter:
        victim.start()
        victim.join(PATIENCE)
    assert victim.dead, f"it hangs at switch {interrupter.at}"
    return victim.value


def again(function: Callable[[], Any]) -> Any:
    """Call a function until it is not interrupted."""
    while True:
        try:
            return function()
        except INTERRUPTIONS:
            continue


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
        end = interrupt(interrupter, lambda: connect(uri_of(server, scheme), **at_client))
        if isinstance(end, ClientConnection):
            with end as ws:
                ws.send("hello")
                assert ws.recv() == "hello"
        else:
            assert type(end) is exc
        until(lambda: not server._roster.greenlets)

    with serving(echo, **at_server) as server:
        places = at_every_switch(run, exc, late)
    check_places(places, "dial", "_receive_response")
    assert ("_shake_tls" in places) is tls


@in_every_way
@leaves_nothing
def test_server(exc: type[BaseException], tls: bool, late: int) -> None:
    """From accepting a connection to its end: the opening handshake, the handler, closing."""
    at_server, at_client, scheme = secure(tls)
    code = 1001 if exc is GreenletExit else 1011

    def run(interrupter: Interrupter) -> None:
        interrupter.is_victim = lambda glet: type(glet) is ServingGreenlet
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
                assert ws.close_code in (1000, code)
            except ConnectionClosed as closed:
                # The handler was interrupted, or the handshake when the response was sent.
                assert closed.code == code
            except (InvalidHandshake, OSError):
                pass
            until(lambda: not server._roster.greenlets and not server._state.streams)

    def handler(ws: Any) -> None:
        ws.send(ws.recv())

    with serving(handler, **at_server) as server:
        places = at_every_switch(run, exc, late)
    check_places(places, "_receive_request", "_run", "_wait_for_message", "close")
    assert ("_shake_tls" in places) is tls


@in_every_way
@leaves_nothing
def test_recv(exc: type[BaseException], tls: bool, late: int) -> None:
    def feed(peer: Any) -> None:
        for message in ("one", ["tw", "o"], "three"):
            peer.send(message)
            gevent.sleep(0.001)
        peer.close()

    def receive(ws: Any) -> list[Any]:
        messages = []
        while True:
            try:
                messages.append(again(ws.recv))
            except ConnectionClosed as closed:
                return [*messages, closed.code]

    def run(interrupter: Interrupter) -> None:
        with pair(tls=tls) as (ws, peer):
            feeder = gevent.spawn(feed, peer)
            assert interrupt(interrupter, lambda: receive(ws)) == ["one", "two", "three", 1000]
            feeder.join()

    check_places(at_every_switch(run, exc, late), "_wait_for_message")


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

    def receive(ws: Any) -> tuple[list[str], str]:
        parts = []
        try:
            for part in ws.recv_streaming():
                parts.append(part)
        except INTERRUPTIONS:
            pass
        return parts, again(ws.recv)

    def run(interrupter: Interrupter) -> None:
        with pair(tls=tls) as (ws, peer):
            feeder = gevent.spawn(feed, peer)
            parts, message = interrupt(interrupter, lambda: receive(ws))
            # What is left of an abandoned message is discarded, and nothing else is.
            assert "abc".startswith("".join(parts))
            assert message == ("next" if parts else "abc")
            feeder.join()

    check_places(at_every_switch(run, exc, late), "recv_streaming")


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

    def send_all(ws: Any) -> None:
        for message in messages:
            again(lambda message=message: ws.send(message))
        again(ws.close)

    def run(interrupter: Interrupter) -> None:
        with pair(tls=tls) as (ws, peer):
            narrow(ws, peer)
            receiver = gevent.spawn(list, peer)
            interrupt(interrupter, lambda: send_all(ws))
            assert receiver.get(timeout=PATIENCE) == messages
            assert ws.close_code == 1000

    places = at_every_switch(run, exc, late)
    check_places(places, "_wait_for_turn", "_give_way", "close")


@in_every_way
@leaves_nothing
def test_send_in_fragments(exc: type[BaseException], tls: bool, late: int) -> None:
    def run(interrupter: Interrupter) -> None:
        with pair(tls=tls, server={"max_size": None}) as (ws, peer):
            narrow(ws, peer)
            receiver = gevent.spawn(receive, peer)
            end = interrupt(interrupter, lambda: ws.send(LARGE))
            if end is None:
                ws.close()
                assert receiver.get(timeout=PATIENCE) == b"".join(LARGE)
            else:
                # A message without an end, which nobody may take for a whole one.
                closed = receiver.get(timeout=PATIENCE)
                assert type(end) is exc
                assert closed.rcvd.code == 1011
                assert closed.rcvd.reason == "error in fragmented message"
            assert ends(ws) and ends(peer)

    def receive(ws: Any) -> Any:
        try:
            return ws.recv()
        except ConnectionClosed as closed:
            return closed

    places = at_every_switch(run, exc, late)
    check_places(places, "_send_fragments", "_wait_for_turn")


@in_every_way
@leaves_nothing
def test_close(exc: type[BaseException], tls: bool, late: int) -> None:
    """Closing goes on without whoever asked for it."""

    def run(interrupter: Interrupter) -> None:
        with pair(tls=tls) as (ws, peer):
            ws.send("last")
            end = interrupt(interrupter, ws.close)
            assert end is None or type(end) is exc
            assert peer.recv() == "last"
            assert ends(ws) and ends(peer)
            assert ws.close_code == peer.close_code == 1000

    check_places(at_every_switch(run, exc, late), "_wait_ended")


@in_every_way
@leaves_nothing
def test_with(exc: type[BaseException], tls: bool, late: int) -> None:
    """The end of a ``with`` block, and what is inside."""

    def use(ws: Any) -> None:
        with ws:
            ws.ping().wait(PATIENCE)

    def run(interrupter: Interrupter) -> None:
        with pair(tls=tls) as (ws, peer):
            end = interrupt(interrupter, lambda: use(ws))
            assert ends(ws) and ends(peer)
            codes = [1000] if end is None else [1000, 1001 if exc is GreenletExit else 1011]
            assert peer.close_code in codes

    check_places(at_every_switch(run, exc, late), "wait", "__exit__", "_wait_ended")
