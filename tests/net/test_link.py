"""Tests of what joins a protocol and a stream: deadlines, the log, and the end."""

from __future__ import annotations

import logging
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventws import ConcurrencyError, ConnectionClosedError, ConnectionClosedOK
from geventws.core.states import State
from tests.net.support import PATIENCE, pair, raw_client, until

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


# Threads.


@pytest.mark.parametrize("call", ["recv", "close", "ping", "wait_closed", "pong"])
def test_a_foreign_thread_is_told_whose_connection_it_is(call: str) -> None:
    with pair() as (client, _):
        errors: list[ConcurrencyError] = []
        threads: list[int] = []

        def use() -> None:
            threads.append(native_ident())
            try:
                getattr(client, call)()
            except ConcurrencyError as exc:
                errors.append(exc)

        gevent.get_hub().threadpool.apply(use)
        (error,) = errors
        assert str(client._state.thread) in str(error)
        assert str(threads[0]) in str(error)


def native_ident() -> int:
    from geventws.net.hubs import get_ident

    ident: int = get_ident()
    return ident


# The log.


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
