"""Tests of geventws.net.receiving."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import AsyncResult, Event
from gevent.exceptions import BlockingSwitchOutError

from geventws import (
    ConcurrencyError,
    ConnectionClosedError,
    ConnectionClosedOK,
    Frame,
    Opcode,
    ServerConnection,
)
from geventws.net import receiving as receiving_module
from geventws.net import stream
from geventws.net.transport import Transport
from geventws.testing import RawClient
from tests.net.support import (
    PATIENCE,
    Interruption,
    booby_trap,
    in_thread,
    pair,
    raw_client,
    torment,
    turns,
    until,
)

TEXT, BINARY, CONT, CLOSE = Opcode.TEXT, Opcode.BINARY, Opcode.CONT, Opcode.CLOSE
NORMAL = (1000).to_bytes(2, "big")
REFUSED = "cannot call {} while another greenlet is already running recv or recv_streaming"


@pytest.fixture
def ends() -> Iterator[tuple[RawClient, ServerConnection]]:
    with raw_client() as both:
        yield both


Ends = tuple[RawClient, ServerConnection]


@contextlib.contextmanager
def receiving(ws: Any, how: str = "recv") -> Iterator[gevent.Greenlet[..., Any]]:
    """Another greenlet that waits for a message."""
    receive = {"recv": ws.recv, "recv_streaming": lambda: list(ws.recv_streaming())}[how]
    greenlet = gevent.spawn(receive)
    until(lambda: ws._receiver is greenlet)
    yield greenlet
    greenlet.kill()


# recv.


@pytest.mark.parametrize(
    "opcode, payload, decode, message",
    [
        (TEXT, "é".encode(), None, "é"),
        (TEXT, "é".encode(), True, "é"),
        (TEXT, "é".encode(), False, "é".encode()),
        (BINARY, b"\xff", None, b"\xff"),
        (BINARY, "é".encode(), True, "é"),
        (BINARY, b"\xff", False, b"\xff"),
        (TEXT, b"", None, ""),
        (BINARY, b"", None, b""),
    ],
)
@pytest.mark.parametrize("fragmented", [False, True])
def test_recv_decodes_as_told(
    ends: Ends, opcode: Opcode, payload: bytes, decode: Any, message: Any, fragmented: bool
) -> None:
    peer, ws = ends
    if fragmented:
        peer.send_frame(opcode, payload[:1], fin=False)
        peer.send_frame(CONT, payload[1:])
    else:
        peer.send_frame(opcode, payload)
    received = ws.recv(decode=decode)
    assert received == message
    assert type(received) is type(message)


def test_recv_waits(ends: Ends) -> None:
    peer, ws = ends
    with receiving(ws) as greenlet:
        peer.send_frame(TEXT, b"hello")
        assert greenlet.get(timeout=PATIENCE) == "hello"


def test_recv_with_timeout(ends: Ends) -> None:
    peer, ws = ends
    with pytest.raises(TimeoutError, match=r"^timed out in 0\.0s$"):
        ws.recv(timeout=0.01)
    peer.send_frame(TEXT, b"hello")
    assert ws.recv(timeout=PATIENCE) == "hello"


@pytest.mark.parametrize("timeout", [0, -1])
def test_recv_without_waiting(ends: Ends, timeout: int) -> None:
    peer, ws = ends
    with pytest.raises(TimeoutError, match="^timed out$"):
        ws.recv(timeout=timeout)
    peer.send_frame(TEXT, b"hello")
    until(lambda: ws._inbox.size)
    assert ws.recv(timeout) == "hello"


def test_recv_without_waiting_after_the_end(ends: Ends) -> None:
    peer, ws = ends
    peer.close()
    assert ws.wait_closed(PATIENCE)
    with pytest.raises(ConnectionClosedError):
        ws.recv(timeout=0)


def test_timeout_in_the_middle_of_a_message_loses_nothing(ends: Ends) -> None:
    peer, ws = ends
    peer.send_frame(TEXT, b"hel", fin=False)
    with pytest.raises(TimeoutError):
        ws.recv(timeout=0.01)
    peer.send_frame(CONT, b"lo")
    assert ws.recv(timeout=PATIENCE) == "hello"


def test_timeout_of_the_caller_passes(ends: Ends) -> None:
    peer, ws = ends
    with gevent.Timeout(0.01) as mine, pytest.raises(gevent.Timeout) as info:
        ws.recv(timeout=PATIENCE)
    assert info.value is mine
    peer.send_frame(TEXT, b"hello")
    assert ws.recv() == "hello"


def test_messages_stay_readable_after_the_end(ends: Ends) -> None:
    peer, ws = ends
    peer.send_frame(TEXT, b"one")
    peer.send_frame(TEXT, b"two")
    peer.send_frame(CLOSE, NORMAL)
    peer.close()
    assert ws.wait_closed(PATIENCE)
    assert [ws.recv(), ws.recv(timeout=0)] == ["one", "two"]
    for _ in range(2):
        with pytest.raises(ConnectionClosedOK):
            ws.recv()


def test_unfinished_message_is_lost_with_the_connection(ends: Ends) -> None:
    peer, ws = ends
    peer.send_frame(TEXT, b"one", fin=False)
    peer.close()
    with pytest.raises(ConnectionClosedError, match="^no close frame received or sent$") as info:
        ws.recv()
    assert isinstance(info.value.__cause__, EOFError)


@pytest.mark.parametrize("how", ["recv", "recv_streaming"])
@pytest.mark.parametrize("other", ["recv", "recv_streaming"])
def test_two_greenlets_cannot_receive(ends: Ends, how: str, other: str) -> None:
    peer, ws = ends
    with receiving(ws, how) as greenlet:
        with pytest.raises(ConcurrencyError) as info:
            ws.recv() if other == "recv" else next(ws.recv_streaming())
        assert str(info.value) == REFUSED.format(other)
        # The first one is not disturbed.
        peer.send_frame(TEXT, b"hello")
        assert greenlet.get(timeout=PATIENCE) == ("hello" if how == "recv" else ["hello"])
    peer.send_frame(TEXT, b"again")
    assert ws.recv() == "again"


def test_recv_in_the_hub_is_refused(ends: Ends) -> None:
    _, ws = ends
    result: AsyncResult[BaseException] = AsyncResult()

    def in_the_hub() -> None:
        try:
            ws.recv()
        except BaseException as exc:
            result.set(exc)

    gevent.get_hub().loop.run_callback(in_the_hub)
    assert isinstance(result.get(timeout=PATIENCE), BlockingSwitchOutError)


def test_recv_in_another_thread_is_refused(ends: Ends) -> None:
    peer, ws = ends
    with pytest.raises(ConcurrencyError, match="^this connection belongs to thread .* was used in"):
        in_thread(ws.recv)
    peer.send_frame(TEXT, b"hello")
    assert ws.recv() == "hello"


def test_killed_receiver_leaves_the_message_to_the_next(ends: Ends) -> None:
    peer, ws = ends
    left = 0
    for number in range(200):
        with receiving(ws) as greenlet:
            peer.send_frame(TEXT, b"%d" % number)
            # The kill and the message come at about the same time, in either order.
            if number % 2:
                gevent.sleep(0)
            greenlet.kill(block=False)
            greenlet.join(PATIENCE)
            message = greenlet.value
            if isinstance(message, gevent.GreenletExit):
                left += 1
                message = ws.recv(timeout=PATIENCE)
            assert message == str(number)
    assert left


@pytest.mark.parametrize("exc", [Interruption, gevent.Timeout])
def test_hundreds_of_interruptions_lose_nothing(exc: type[BaseException]) -> None:
    total = 400

    def receive(ws: ServerConnection) -> list[Any]:
        messages: list[Any] = []
        while len(messages) < total:
            with contextlib.suppress(exc):
                messages.append(ws.recv())
        return messages

    with raw_client() as (peer, ws):
        receiver = gevent.spawn(receive, ws)
        turns(1)

        def send() -> None:
            for number in range(total):
                half = b"%d" % number
                # Every third message is fragmented.
                if number % 3:
                    peer.send_frame(TEXT, half)
                else:
                    peer.send_frame(TEXT, b"", fin=False)
                    gevent.sleep(0)
                    peer.send_frame(CONT, half)
                # Lets the loop poll: else hundreds of messages would come in one turn.
                gevent.sleep(0.001)

        sending = gevent.spawn(send)
        assert torment(receiver, exc) > 200
        sending.get(timeout=PATIENCE)
        assert receiver.get() == [str(number) for number in range(total)]


def test_interrupted_receiver_is_not_switched_to_later(ends: Ends) -> None:
    # It waits for something else when the message comes (prototype R2).
    peer, ws = ends
    waiting, done = Event(), Event()

    def receive_then_wait() -> bool:
        with contextlib.suppress(Interruption):
            ws.recv()
        waiting.set()
        return done.wait(PATIENCE)

    greenlet = gevent.spawn(receive_then_wait)
    until(lambda: ws._receiver is greenlet)
    greenlet.kill(Interruption, block=False)
    peer.send_frame(TEXT, b"hello")
    assert waiting.wait(PATIENCE)
    until(lambda: ws._inbox.size)
    turns()
    assert not greenlet.dead
    done.set()
    assert greenlet.get(timeout=PATIENCE) is True
    assert ws.recv() == "hello"


def test_message_that_is_put_back_is_the_next(ends: Ends) -> None:
    peer, ws = ends
    for message in (b"one", b"two"):
        peer.send_frame(TEXT, message)
    message = ws.recv()
    ws._put_back(message)
    assert [ws.recv(), ws.recv()] == ["one", "two"]


def test_message_that_is_put_back_wakes_who_waits_for_the_next(ends: Ends) -> None:
    peer, ws = ends
    peer.send_frame(TEXT, b"one")
    message = ws.recv()
    with receiving(ws) as greenlet:
        ws._put_back(message)
        assert greenlet.get(timeout=PATIENCE) == "one"


def test_joined_answers_leave_before_recv_waits(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "JOIN_TIME", 60)
    peer, ws = ends
    writers = []

    class Spy(Transport):
        def send(self, data: bytes | memoryview) -> int:
            writers.append(gevent.getcurrent())
            return super().send(data)

    ws._transport = Spy(ws._transport.sock)
    peer.send_bytes(b"".join(peer.frame(TEXT, b"%d" % number) for number in range(3)))
    until(lambda: ws._inbox.size == 3)
    for number in range(3):
        assert ws.recv() == str(number)
        if number < 2:
            ws.send(str(number))
    assert ws._queued
    with pytest.raises(TimeoutError):
        ws.recv(timeout=0.001)
    # The second did not have to wait for the hub.
    assert writers == [gevent.getcurrent()] * 2
    assert [peer.recv_frame(), peer.recv_frame()] == [Frame(TEXT, b"0"), Frame(TEXT, b"1")]


# Making room.


@pytest.mark.parametrize(
    "level, fair_time, size",
    [
        (logging.INFO, math.inf, 4),
        # Others get their turn first...
        (logging.INFO, -1, 1),
        # ...or the log may be written, which a receiver must not wait for.
        (logging.DEBUG, math.inf, 1),
    ],
)
def test_receiver_that_made_room_reads_on_where_that_is_fair(
    level: int, fair_time: float, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving_module, "FAIR_TIME", fair_time)
    with raw_client(max_queue=(4, 1), logger=logging.Logger("room", level)) as (peer, ws):
        peer.send_bytes(b"".join(peer.frame(TEXT, b"%d" % number) for number in range(20)))
        until(lambda: ws._stalled)
        assert [ws.recv() for _ in range(2)] == ["0", "1"]
        assert ws._inbox.size == 2
        assert ws.recv() == "2"
        # Nothing else has run since.
        assert ws._inbox.size == size
        assert [ws.recv(PATIENCE) for _ in range(17)] == [str(number) for number in range(3, 20)]


def test_bug_while_a_receiver_reads_on_fails_the_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(receiving_module, "FAIR_TIME", math.inf)
    bug = ZeroDivisionError("bug")
    with raw_client(max_queue=(4, 1)) as (peer, ws):
        peer.send_bytes(b"".join(peer.frame(TEXT, b"%d" % number) for number in range(20)))
        until(lambda: ws._stalled)
        booby_trap(ws, bug)
        # Who makes room does not get to know yet: messages are left.
        assert [ws.recv() for _ in range(4)] == ["0", "1", "2", "3"]
        assert peer.recv_frame() == Frame(CLOSE, (1011).to_bytes(2, "big"))
        peer.close()
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv()
        assert info.value.__cause__ is bug
    (record,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert record.message == "unexpected internal error"


# Iteration.


def test_iterator_is_its_own(ends: Ends) -> None:
    peer, ws = ends
    for message in (b"one", b"two"):
        peer.send_frame(TEXT, message)
    peer.send_frame(CLOSE, NORMAL)
    peer.close()
    messages = iter(ws)
    assert next(messages) == "one"
    # What has the rest of it in a loop does not begin a new one.
    assert iter(messages) is messages
    assert list(messages) == ["two"]


def test_iteration_ends_when_the_connection_closes_normally(ends: Ends) -> None:
    peer, ws = ends
    peer.send_frame(TEXT, b"one")
    peer.send_frame(BINARY, b"two")
    peer.send_frame(CLOSE, NORMAL)
    peer.close()
    assert list(ws) == ["one", b"two"]
    assert list(ws) == []


@pytest.mark.parametrize("close", [None, (1011).to_bytes(2, "big")])
def test_iteration_raises_when_the_connection_breaks(ends: Ends, close: bytes | None) -> None:
    peer, ws = ends
    peer.send_frame(TEXT, b"one")
    if close is not None:
        peer.send_frame(CLOSE, close)
    peer.close()
    messages = []
    with pytest.raises(ConnectionClosedError):
        for message in ws:
            messages.append(message)
    assert messages == ["one"]


# recv_streaming.


@pytest.mark.parametrize(
    "opcode, decode, fragments",
    [
        (TEXT, None, ["", "é", "x"]),
        (TEXT, False, ["é".encode()[:1], "é".encode()[1:], b"x"]),
        (BINARY, None, ["é".encode()[:1], "é".encode()[1:], b"x"]),
        (BINARY, True, ["", "é", "x"]),
    ],
)
def test_stream_decodes_as_told(ends: Ends, opcode: Opcode, decode: Any, fragments: Any) -> None:
    peer, ws = ends
    peer.send_frame(opcode, "é".encode()[:1], fin=False)
    peer.send_frame(CONT, "é".encode()[1:], fin=False)
    peer.send_frame(CONT, b"x")
    peer.send_frame(TEXT, b"next")
    assert list(ws.recv_streaming(decode)) == fragments
    assert list(ws.recv_streaming()) == ["next"]


def test_stream_gives_fragments_as_they_arrive(ends: Ends) -> None:
    peer, ws = ends
    stream = ws.recv_streaming()
    for number, fragment in enumerate(["one", "two", ""]):
        peer.send_frame(CONT if number else TEXT, fragment.encode(), fin=False)
        assert next(stream) == fragment
    peer.send_frame(CONT, b"end")
    assert list(stream) == ["end"]
    peer.send_frame(TEXT, b"next")
    assert ws.recv() == "next"


def test_recv_inside_a_stream_is_refused(ends: Ends) -> None:
    peer, ws = ends
    peer.send_frame(TEXT, b"one", fin=False)
    stream = ws.recv_streaming()
    assert next(stream) == "one"
    with pytest.raises(ConcurrencyError):
        ws.recv()
    peer.send_frame(CONT, b"two")
    assert list(stream) == ["two"]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_abandoned_stream(ends: Ends, after: int) -> None:
    peer, ws = ends
    frames = [(TEXT, b"one", False), (CONT, b"two", False), (CONT, b"three", True)]
    for opcode, data, fin in frames[: after + 1]:
        peer.send_frame(opcode, data, fin=fin)
    for fragment in ws.recv_streaming():
        assert fragment == "one"
        break
    for opcode, data, fin in frames[after + 1 :]:
        peer.send_frame(opcode, data, fin=fin)
    peer.send_frame(TEXT, b"next")
    assert ws.recv(timeout=PATIENCE) == "next"


def test_abandoned_stream_makes_room() -> None:
    # Its fragments filled the inbox, and nobody takes them out any more.
    with raw_client(max_queue=(4, 1)) as (peer, ws):
        stream = ws.recv_streaming()
        peer.send_frame(TEXT, b"first", fin=False)
        assert next(stream) == "first"
        for _ in range(10):
            peer.send_frame(CONT, b"more", fin=False)
        until(lambda: ws._stalled)
        stream.close()
        peer.send_frame(CONT, b"last")
        peer.send_frame(TEXT, b"next")
        assert ws.recv(timeout=PATIENCE) == "next"


def test_stream_longer_than_the_queue() -> None:
    with raw_client(max_queue=(4, 1)) as (peer, ws):
        peer.send_frame(TEXT, b"0", fin=False)
        stream = ws.recv_streaming()
        assert next(stream) == "0"
        peer.send_bytes(b"".join(peer.frame(CONT, b"%d" % n, fin=n == 99) for n in range(1, 100)))
        assert list(stream) == [str(n) for n in range(1, 100)]


def test_timeout_inside_a_stream(ends: Ends) -> None:
    peer, ws = ends
    peer.send_frame(TEXT, b"one", fin=False)
    fragments = []
    with gevent.Timeout(0.05, False):
        for fragment in ws.recv_streaming():
            fragments.append(fragment)
    assert fragments == ["one"]
    # The stream is over: the rest of its message is discarded.
    peer.send_frame(CONT, b"two")
    peer.send_frame(TEXT, b"next")
    assert ws.recv() == "next"


def test_timeout_before_the_first_fragment_loses_nothing(ends: Ends) -> None:
    peer, ws = ends
    with gevent.Timeout(0.01, False):
        next(ws.recv_streaming())
    peer.send_frame(TEXT, b"one", fin=False)
    peer.send_frame(CONT, b"two")
    assert ws.recv() == "onetwo"


def test_connection_lost_inside_a_stream(ends: Ends) -> None:
    peer, ws = ends
    peer.send_frame(TEXT, b"one", fin=False)
    peer.close()
    stream = ws.recv_streaming()
    assert next(stream) == "one"
    with pytest.raises(ConnectionClosedError):
        next(stream)


def test_other_bytes_than_utf_8_in_a_stream_of_text(ends: Ends) -> None:
    peer, ws = ends
    peer.send_frame(BINARY, b"\xff", fin=False)
    with pytest.raises(UnicodeDecodeError):
        list(ws.recv_streaming(decode=True))
    peer.send_frame(CONT, b"\xfe")
    peer.send_frame(TEXT, b"next")
    assert ws.recv() == "next"


@pytest.mark.parametrize("tls", [False, True])
def test_large_messages_both_ways_at_once(tls: bool) -> None:
    size = 8 * 2**20
    message = bytes(range(256)) * (size // 256)
    options = {"max_size": size, "compression": None}
    with pair(client=options, server=options, tls=tls) as (client, server):
        sending = [gevent.spawn(functools.partial(ws.send, message)) for ws in (client, server)]
        assert client.recv() == message
        assert server.recv() == message
        gevent.joinall(sending, timeout=PATIENCE, raise_error=True)
