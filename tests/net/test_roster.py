"""The end of a server's connections, and what the log says of it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent.event import Event

from geventws import ConnectionClosed, InvalidStatus, State, connect
from geventws.core.frames import Opcode
from geventws.net.roster import Roster
from geventws.net.transport import own_socket
from geventws.testing import RawClient
from tests.net.support import (
    HOST,
    PATIENCE,
    Hold,
    echo,
    in_child,
    serving,
    squeeze,
    turns,
    until,
    uri_of,
)


class Fragments:
    """A handler that sends a message in two fragments, the second when it is told."""

    def __init__(self, then: str = "") -> None:
        self.go_on = Event()
        # What it sends afterwards, if that is possible.
        self.then = then

    def __iter__(self) -> Iterator[str]:
        yield "begin, "
        self.go_on.wait()
        yield "end"

    def __call__(self, ws: Any) -> None:
        ws.send(self)
        if self.then:
            ws.send(self.then)
        ws.wait_closed()


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines of level INFO between the first and the last of a shutdown."""
    lines = [record.getMessage() for record in caplog.records if record.levelname == "INFO"]
    return [line for line in lines[lines.index("server closing") :] if line[0].isdigit()]


@pytest.fixture(autouse=True)
def info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "geventws.server")


# Who is there.


def test_open_connections() -> None:
    hold = Hold()
    with serving(hold) as server:
        assert server.connections == set()
        # It has not asked for a WebSocket yet.
        with RawClient(server.address, open=False) as silent:
            until(lambda: any(server._roster.greenlets.values()))
            with connect(uri_of(server)), connect(uri_of(server)):
                both = {hold.get(), hold.get()}
                assert server.connections == both
                assert server.connections is not server.connections
                assert len(server._roster.greenlets) == 3
            until(lambda: not server.connections)
            silent.close()
        hold.done.set()


def test_fork() -> None:
    """A child serves nobody: the handlers go on in the parent process only."""
    hold = Hold()
    with serving(hold) as server, RawClient(server.address) as peer:
        ws = hold.get()
        roster = server._roster
        survivor = Roster()
        survivor.survivors.add(ws)

        def check() -> None:
            assert [*roster.greenlets, *roster.connections, *survivor.survivors] == []

        in_child(check)
        assert roster.connections == set(survivor.survivors) == {ws}
        ws.send("still here")
        frame = peer.recv_frame()
        assert frame is not None and frame.data == b"still here"
        hold.done.set()


# The end.


def test_client_that_was_accepted_a_moment_ago(caplog: pytest.LogCaptureFixture) -> None:
    """Its greenlet has not begun; when it does, it sees that the server closes."""
    ours, theirs = gevent.socket.socketpair()
    with serving(echo) as server:
        opening = gevent.spawn(connect, uri_of(server), sock=ours)
        server._accepted(own_socket(theirs), (HOST, 0))
        server.shutdown(timeout=PATIENCE)
        with pytest.raises(InvalidStatus) as raised:
            opening.get(timeout=PATIENCE)
    assert raised.value.response.status_code == 503
    assert messages(caplog) == ["1 handshake answered with 503"]


def test_connection_that_is_closing_already(caplog: pytest.LogCaptureFixture) -> None:
    """Another close frame would be one too many, and so would another line in the summary."""

    def handler(ws: Any) -> None:
        ws.close(1000, "by the handler")

    with serving(handler) as server, RawClient(server.address) as peer:
        received = peer.recv_close()
        assert received is not None and received.data == b"\x03\xe8by the handler"
        stopping = gevent.spawn(server.shutdown)
        until(lambda: server.closing)
        peer.send_frame(Opcode.CLOSE, received.data)
        assert peer.recv_frame() is None
        peer.close()
        stopping.get(timeout=PATIENCE)
    assert messages(caplog) == []


def test_client_that_was_refused_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    with serving(echo, close_timeout=None) as server:
        with RawClient(server.address, open=False) as peer:
            peer.send_bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert peer.recv_response().status_code == 426
            # It would have to close TCP now.
            (ws,) = server._roster.greenlets.values()
            assert ws is not None and ws._close_due
            server.shutdown(timeout=PATIENCE)
            assert ws.state is State.CLOSED
            assert peer.recv_eof()
    assert messages(caplog) == []


def test_http_response_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    asked, go_on = Event(), Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "5")])
        asked.set()
        go_on.wait()
        return [b"hello"]

    with serving(echo, http=application) as server:
        with RawClient(server.address, open=False) as browser:
            browser.send_bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert asked.wait(PATIENCE)
            stopping = gevent.spawn(server.shutdown)
            until(lambda: server.closing)
            turns()
            assert not stopping.dead
            go_on.set()
            assert browser.recv_response().body == b"hello"
            assert browser.recv_eof()
            browser.close()
            stopping.get(timeout=PATIENCE)
    # Behind the line of the access log.
    assert messages(caplog)[1:] == ["1 HTTP connection ended"]


def test_handler_that_does_not_begin_in_time() -> None:
    """Killed before its first instruction, it cannot even say that it has ended."""
    roster = Roster()
    late = gevent.Greenlet(pytest.fail, "it has begun")
    roster.greenlets[late] = None
    roster.join(timeout=0)
    assert late.dead
    assert roster.greenlets == {}
    assert roster.summary() == "1 handler killed"


@pytest.mark.parametrize("count", [1, 2])
def test_handlers_that_do_not_end_in_time_are_killed(count: int) -> None:
    """What they had from the network ends with them, and the roster is empty."""
    hold = Hold()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(hold))
        peers = [stack.enter_context(RawClient(server.address)) for _ in range(count)]
        connections = [hold.get() for _ in range(count)]
        roster = server._roster
        roster.join(timeout=0)
        assert roster.greenlets == {}
        assert roster.summary() == f"{count} handler{'s' * (count - 1)} killed"
        assert {ws.state for ws in connections} == {State.CLOSED}
        for peer in peers:
            assert peer.recv_frame() is None


def test_survivors_are_given_up_in_the_end() -> None:
    """Their handlers are gone, and the client does not answer the close frame."""
    hold = Hold()
    with serving(hold, close_timeout=None) as server, RawClient(server.address) as peer:
        ws = hold.get()
        (greenlet,) = server._roster.greenlets
        greenlet.kill()
        received = peer.recv_close()
        assert received is not None and received.data == b"\x03\xe9"
        assert ws.state is State.CLOSING and set(server._roster.survivors) == {ws}
        server.shutdown(timeout=0.001)
        assert ws.state is State.CLOSED
        assert peer.recv_frame() is None


def test_shutdown_lets_a_fragmented_message_end(caplog: pytest.LogCaptureFixture) -> None:
    handler = Fragments()
    with serving(handler) as server, connect(uri_of(server)) as ws, connect(uri_of(server)) as idle:
        heads = [one.recv_streaming() for one in (ws, idle)]
        assert [next(head) for head in heads] == ["begin, "] * 2
        stopping = gevent.spawn(server.shutdown, 1012, "deploying")
        stopping.join(0.05)
        assert not stopping.dead and ws.state.name == "OPEN"
        handler.go_on.set()
        assert ["".join(head) for head in heads] == ["end"] * 2
        for one in (ws, idle):
            assert one.wait_closed(PATIENCE)
            assert (one.close_code, one.close_reason) == (1012, "deploying")
        stopping.get(timeout=PATIENCE)
    assert messages(caplog) == ["2 connections closed with 1012"]


def test_nothing_follows_the_message_that_ends() -> None:
    handler = Fragments(then="too late")
    with serving(handler) as server, connect(uri_of(server)) as ws:
        head = ws.recv_streaming()
        assert next(head) == "begin, "
        stopping = gevent.spawn(server.shutdown)
        stopping.join(0.01)
        handler.go_on.set()
        assert "".join(head) == "end"
        with pytest.raises(ConnectionClosed):
            ws.recv(PATIENCE)
        assert ws.close_code == 1001
        stopping.get(timeout=PATIENCE)


def test_a_message_that_does_not_end_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    with serving(Fragments()) as server, connect(uri_of(server)) as ws:
        head = ws.recv_streaming()
        assert next(head) == "begin, "
        server.shutdown(timeout=0.05)
        assert ws.wait_closed(PATIENCE)
    assert messages(caplog) == ["1 connection closed with 1001, 1 handler killed"]


def test_a_message_that_fails_is_no_reason_to_wait() -> None:
    handler = Fragments()

    def failing(ws: Any) -> None:
        def fragments() -> Iterator[str]:
            yield "begin, "
            handler.go_on.wait()
            raise ValueError("no more")

        ws.send(fragments())

    with serving(failing) as server, connect(uri_of(server)) as ws:
        head = ws.recv_streaming()
        assert next(head) == "begin, "
        stopping = gevent.spawn(server.shutdown)
        stopping.join(0.01)
        handler.go_on.set()
        assert ws.wait_closed(PATIENCE)
        assert ws.close_code == 1011
        stopping.get(timeout=PATIENCE)


def test_the_connection_is_lost_while_the_message_is_waited_for() -> None:
    handler = Fragments()
    with serving(handler) as server:
        with RawClient(server.address) as peer:
            assert peer.recv_frame() is not None
            stopping = gevent.spawn(server.shutdown)
            stopping.join(0.01)
            peer.reset()
        handler.go_on.set()
        stopping.get(timeout=PATIENCE)


def test_what_is_queued_is_flushed() -> None:
    size = 4 * 1024 * 1024
    hold = Hold()
    with serving(hold) as server, RawClient(server.address) as peer:
        ws = hold.get()
        squeeze(ws, peer)
        ws.send(bytes(size))
        assert ws._queued
        stopping = gevent.spawn(server.shutdown)
        stopping.join(0.01)
        hold.done.set()
        frame = peer.recv_frame()
        assert frame is not None and len(frame.data) == size
        frame = peer.recv_frame()
        assert frame is not None and (frame.opcode, frame.data) == (Opcode.CLOSE, b"\x03\xe9")
        peer.send_frame(Opcode.CLOSE, frame.data)
        peer.recv_eof()
        peer.close()
        stopping.get(timeout=PATIENCE)


def test_summary_of_all_kinds(caplog: pytest.LogCaptureFixture) -> None:
    hold = Hold()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"hello"]

    with serving(hold, http=application) as server:
        silent = RawClient(server.address, open=False)
        browser = RawClient(server.address, open=False)
        browser.send_bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert browser.recv_response().body == b"hello"
        with connect(uri_of(server)), silent, browser:
            hold.get()
            until(lambda: None not in server._roster.greenlets.values())
            server.shutdown(timeout=0.1)
    (summary,) = messages(caplog)
    assert sorted(summary.split(", ")) == [
        "1 HTTP connection ended",
        "1 connection closed with 1001",
        "1 handler killed",
        "1 handshake answered with 503",
    ]


def test_nothing_to_say(caplog: pytest.LogCaptureFixture) -> None:
    with serving(echo) as server:
        connect(uri_of(server)).close()
        until(lambda: not server._roster.greenlets)
    assert messages(caplog) == []
