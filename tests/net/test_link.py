"""Tests of what joins a protocol and a stream: deadlines, the log, and the end."""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.monkey import get_original

from geventws import (
    ConcurrencyError,
    ConnectionClosedError,
    ConnectionClosedOK,
    Frame,
    Opcode,
    ServerConnection,
    unix_serve,
)
from geventws.core.protocol import Protocol
from geventws.core.states import Side, State
from geventws.net.hubs import get_hub_state
from geventws.net.link import Link
from geventws.net.logs import ConnectionLogger
from geventws.net.threads import get_ident
from geventws.net.transport import Transport, own_socket
from geventws.testing import RawClient
from tests.net.support import PATIENCE, Hold, in_child, pair, raw_client, squeeze, turns, until

TEXT, BINARY = Opcode.TEXT, Opcode.BINARY
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG


@contextlib.contextmanager
def deaf_peer(path: pathlib.Path, **options: Any) -> Iterator[tuple[RawClient, ServerConnection]]:
    """A peer that sends, and takes nothing any more; only Unix sockets have such."""
    hold = Hold()
    with unix_serve(hold, str(path), **options), RawClient(path) as peer:
        try:
            ws = hold.get()
            peer.sock.shutdown(socket.SHUT_RD)
            yield peer, ws
        finally:
            hold.done.set()


class Recorder(logging.Handler):
    """Keeps messages, and may do something at each."""

    def __init__(self, action: Any = None) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.action = action

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        if self.action is not None:
            self.action(record)


def recording_logger(name: str, handler: Recorder) -> logging.Logger:
    logger = logging.Logger(name, logging.DEBUG)
    logger.addHandler(handler)
    return logger


# What the protocol has to send.


def test_newest_pong_takes_the_place_of_one_that_waits() -> None:
    with raw_client(write_limit=2**22) as (peer, ws):
        squeeze(ws, peer)
        ws.send(bytes(2**20))
        assert ws._queued
        for number in range(3):
            peer.send_frame(PING, b"%d" % number)
        peer.send_frame(TEXT, b"behind them")
        assert ws.recv() == "behind them"
        ws.send("end")
        frames = [peer.recv_frame() for _ in range(3)]
        assert frames == [Frame(BINARY, bytes(2**20)), Frame(PONG, b"2"), Frame(TEXT, b"end")]


# Deadlines.


def test_close_timeout_ends_a_connection_whose_peer_does_not_answer() -> None:
    with raw_client(close_timeout=0.05) as (peer, ws):
        ws.close()
        assert ws.state is State.CLOSED
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv()
        cause = caught.value.__cause__
        assert isinstance(cause, TimeoutError)
        assert str(cause) == "timed out while closing connection"
        assert str(caught.value) == "sent 1000 (OK); no close frame received"
        close = peer.recv_close()
        assert close is not None and close.data == b"\x03\xe8"


def test_a_deadline_replaces_the_one_before() -> None:
    with pair(server={"ping_interval": None}) as (_, ws):
        assert ws._deadline is None
        ws._set_deadline(60)
        first: Any = ws._deadline
        ws._set_deadline(90)
        assert first.owner is None
        second: Any = ws._deadline
        assert second.owner is ws
        ws._set_deadline(None)
        assert second.owner is None
        assert ws._deadline is None


def test_the_end_cancels_the_deadline() -> None:
    with pair() as (client, server):
        deadline: Any = server._deadline
        client.close()
        assert server.wait_closed(PATIENCE)
        assert deadline.owner is None
        assert server._deadline is None


def test_deadline_that_is_not_the_end() -> None:
    """It leaves the connection alone, and the log to another greenlet."""
    handler = Recorder()
    here, there = get_original("socket", "socketpair")()
    link = Link(
        Transport(own_socket(here)),
        Protocol(Side.SERVER, debug=True),
        get_hub_state(),
        close_timeout=None,
        write_limit=(1, 0),
        logger=recording_logger("deadline", handler),
    )
    with there:
        link.on_deadline()
        assert handler.messages == []
        turns()
        assert handler.messages == ["= connection is CONNECTING"]
        assert link._protocol.state is State.CONNECTING
        assert link._transport.fileno() != -1
        link._lost()
        assert link._wait_ended(PATIENCE) is True
        assert handler.messages[1:] == ["= connection is CLOSED"]


# Failing.


def test_failing_says_why_and_waits_for_the_peer() -> None:
    handler = Recorder()
    with raw_client(logger=recording_logger("failing", handler)) as (peer, ws):
        ws._fail(1011, "why")
        assert "> CLOSE 1011 (internal error) why [5 bytes]" in handler.messages
        assert ws.state is State.CLOSING
        assert peer.recv_frame() == Frame(CLOSE, b"\x03\xf3why")
        assert peer.recv_frame() is None
        peer.close()
        assert ws.wait_closed(PATIENCE)


def test_what_came_before_writing_failed_can_be_read(tmp_path: pathlib.Path) -> None:
    handler = Recorder()
    logger = recording_logger("deaf", handler)
    with deaf_peer(tmp_path / "s", logger=logger, close_timeout=PATIENCE * 2) as (peer, ws):
        with pytest.raises(ConnectionClosedError) as caught:
            ws.send("in vain")
        assert isinstance(caught.value.__cause__, BrokenPipeError)
        # The answer to the ping fails as well.
        for opcode, data in ((TEXT, b"one"), (PING, b"ping"), (TEXT, b"two")):
            peer.send_frame(opcode, data)
        assert [ws.recv(PATIENCE), ws.recv(PATIENCE)] == ["one", "two"]
        assert ws.state is State.OPEN
        peer.close()
        assert ws.wait_closed(PATIENCE)
    assert handler.messages.count("! error while sending data") == 1


def test_close_timeout_ends_a_connection_to_which_writing_failed(tmp_path: pathlib.Path) -> None:
    with deaf_peer(tmp_path / "s", close_timeout=0.05) as (_, ws):
        with pytest.raises(ConnectionClosedError):
            ws.send("in vain")
        assert ws.wait_closed(PATIENCE)
        with pytest.raises(
            ConnectionClosedError, match="^no close frame received or sent$"
        ) as info:
            ws.recv()
        # That came first, and is why.
        assert isinstance(info.value.__cause__, BrokenPipeError)


# The end.


def test_everybody_learns_of_the_end() -> None:
    with pair() as (client, server):
        outcomes: list[object] = []

        def receive() -> None:
            with pytest.raises(ConnectionClosedOK):
                server.recv()
            outcomes.append("recv")

        waiting = [gevent.spawn(receive)]
        waiting += [gevent.spawn(lambda: outcomes.append(server.wait_closed())) for _ in range(2)]
        ping = client.ping(ack_on_close=True)
        gevent.sleep(0)
        client.close()
        gevent.joinall(waiting, timeout=PATIENCE, raise_error=True)
        assert sorted(map(str, outcomes)) == ["True", "True", "recv"]
        assert ping.wait(PATIENCE)


def test_wait_closed_gives_up() -> None:
    with pair() as (client, _):
        assert client.wait_closed(0.01) is False
        assert client.wait_closed(0) is False
        client.close()
        assert client.wait_closed(0) is True


def test_receiver_learns_of_the_end_when_nobody_else_waits() -> None:
    with raw_client() as (peer, ws):
        peer.close()
        with pytest.raises(ConnectionClosedError):
            ws.recv()
        assert ws._closed is None
        assert ws.wait_closed(0) is True


@pytest.mark.parametrize("waited_for", [False, True])
@pytest.mark.parametrize("ended", [False, True])
def test_hub_calls_at_the_end_or_after_it(ended: bool, waited_for: bool) -> None:
    with raw_client() as (peer, ws):
        called = Event()
        hubs = []

        def note(_: object) -> None:
            hubs.append(gevent.getcurrent())
            called.set()

        if waited_for:
            assert ws.wait_closed(0) is False
        if not ended:
            ws._on_end(note)
            turns()
        assert hubs == []
        peer.close()
        until(lambda: ws._ended)
        if ended:
            ws._on_end(note)
        assert called.wait(PATIENCE)
        assert hubs == [gevent.get_hub()]


def test_losing_twice_is_losing_once() -> None:
    with pair() as (client, server):
        client._lost()
        client._lost()
        assert client.wait_closed(PATIENCE)
        assert client.close_code == 1006
        assert server.wait_closed(PATIENCE)
        with pytest.raises(ConnectionClosedError) as caught:
            server.recv()
        assert isinstance(caught.value.__cause__, (EOFError, ConnectionResetError))


def test_causes_do_not_keep_frames_alive() -> None:
    with raw_client() as (peer, ws):
        peer.reset()
        assert ws.wait_closed(PATIENCE)
        assert ws._cause is not None
        assert ws._cause.__traceback__ is None


def test_each_exception_is_a_new_one() -> None:
    with pair() as (client, _):
        client.close()
        exceptions = []
        for _ in range(2):
            with pytest.raises(ConnectionClosedOK) as caught:
                client.recv()
            exceptions.append(caught.value)
        assert exceptions[0] is not exceptions[1]


# Threads, and forks.


@pytest.mark.parametrize("call", ["recv", "close", "ping", "wait_closed", "pong"])
def test_a_foreign_thread_is_told_whose_connection_it_is(call: str) -> None:
    with pair() as (client, _):
        errors: list[ConcurrencyError] = []
        threads: list[int] = []

        def use() -> None:
            threads.append(get_ident())
            try:
                getattr(client, call)()
            except ConcurrencyError as exc:
                errors.append(exc)

        gevent.get_hub().threadpool.apply(use)
        (error,) = errors
        assert str(client._state.thread) in str(error)
        assert str(threads[0]) in str(error)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_forked_process_is_told_whose_connection_it_is() -> None:
    with raw_client() as (peer, ws):

        def check() -> None:
            for _ in range(2):
                with pytest.raises(ConnectionClosedError) as caught:
                    ws.recv()
                assert str(caught.value.__cause__) == (
                    f"this connection belongs to process {os.getppid()}, which forked process "
                    f"{os.getpid()}; open a connection of its own there"
                )
                assert ws.wait_closed() is True
                assert ws._transport.fileno() == -1
                # Once is enough.
                ws.abandon()

        in_child(check)
        ws.send("still the parent's")
        assert peer.recv_frame() == Frame(TEXT, b"still the parent's")


def test_connection_that_is_closed_is_not_abandoned() -> None:
    with pair() as (client, _):
        client.close()
        client.abandon()
        with pytest.raises(ConnectionClosedOK) as caught:
            client.recv()
        assert caught.value.__cause__ is None


# The log.


def test_lines_that_a_log_handler_causes_come_after_its_own() -> None:
    def answer(record: logging.LogRecord) -> None:
        if record.getMessage() == "< TEXT 'ping me' [7 bytes]":
            record.websocket.pong(b"called")  # type: ignore[attr-defined]

    handler = Recorder(answer)
    logger = recording_logger("reentrant", handler)
    with pair(server={"logger": logger}) as (client, server):
        client.send("ping me")
        assert server.recv(timeout=PATIENCE) == "ping me"
        until(lambda: any("called" in message for message in handler.messages))
        received = handler.messages.index("< TEXT 'ping me' [7 bytes]")
        sent = handler.messages.index("> PONG 'called' [text, 6 bytes]")
        assert received < sent


def test_a_log_handler_that_blocks_keeps_lines_in_order() -> None:
    gate = Event()

    def block(record: logging.LogRecord) -> None:
        if "block here" in record.getMessage():
            gate.wait(PATIENCE)

    handler = Recorder(block)
    logger = recording_logger("blocking", handler)
    with pair(client={"logger": logger, "compression": None}) as (client, server):
        senders = [gevent.spawn(client.send, message) for message in ("block here", "second")]
        # No log handler stands between a frame and the network, only before the next one.
        assert server.recv(timeout=PATIENCE) == "block here"
        assert "> TEXT 'second' [6 bytes]" not in handler.messages
        gate.set()
        assert server.recv(timeout=PATIENCE) == "second"
        gevent.joinall(senders, timeout=PATIENCE, raise_error=True)
        until(lambda: "> TEXT 'second' [6 bytes]" in handler.messages)
        first = handler.messages.index("> TEXT 'block here' [10 bytes]")
        assert first < handler.messages.index("> TEXT 'second' [6 bytes]")


def test_a_log_handler_that_raises_does_not_harm_the_connection() -> None:
    def explode(record: logging.LogRecord) -> None:
        raise RuntimeError("log handler")

    hub = gevent.get_hub()
    errors: list[object] = []
    handle_error, hub.handle_error = hub.handle_error, lambda *args: errors.append(args[2])
    try:
        logger = recording_logger("exploding", Recorder(explode))
        with pair(client={"logger": logger}) as (client, server):
            client.send("hello")
            assert server.recv(timeout=PATIENCE) == "hello"
            server.send("world")
            assert client.recv(timeout=PATIENCE) == "world"
    finally:
        hub.handle_error = handle_error
    assert {str(error) for error in errors} == {"log handler"}


def test_hub_that_raises_because_a_log_handler_did_does_not_harm_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Applications replace the hub's ``handle_error``; what that raises, it is told as well."""

    def explode(record: logging.LogRecord) -> None:
        raise RuntimeError("log handler")

    contexts: list[object] = []

    def handle_error(context: object, kind: Any, value: Any, tb: Any) -> None:
        contexts.append(context)
        if isinstance(context, ConnectionLogger):
            raise value

    handler = Recorder()
    logger = recording_logger("exploding", handler)
    with pair(client={"logger": logger, "compression": None}) as (client, server):
        handler.action = explode
        with monkeypatch.context() as patch:
            patch.setattr(gevent.get_hub(), "handle_error", handle_error)
            client.pong(b"pong")
        handler.action = None
        assert isinstance(contexts[0], ConnectionLogger)
        assert contexts[1:] == [client]
        # The log goes on, too.
        client.send("hello")
        assert server.recv(timeout=PATIENCE) == "hello"
        until(lambda: "> TEXT 'hello' [5 bytes]" in handler.messages)
