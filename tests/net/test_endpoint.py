"""Tests of geventws.net.endpoint: order, backpressure, and errors where none may escape."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import gevent
import pytest
from gevent.event import AsyncResult, Event

from geventws import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    Frame,
    Opcode,
    PayloadTooBig,
    ProtocolError,
    ServerConnection,
    TooManyFragments,
)
from geventws.net.endpoint import TURN_FRAMES
from geventws.net.receiving import FAIR_TIME
from geventws.testing import RawClient
from tests.net.support import (
    PATIENCE,
    Polls,
    booby_trap,
    client_tls,
    echo,
    raw_client,
    server_tls,
    serving,
    turns,
    until,
)

TEXT, BINARY, CONT = Opcode.TEXT, Opcode.BINARY, Opcode.CONT
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG
NORMAL = (1000).to_bytes(2, "big")

Ends = tuple[RawClient, ServerConnection]


@pytest.fixture
def ends() -> Iterator[Ends]:
    with raw_client() as both:
        yield both


def failure(code: int, reason: str) -> Frame:
    return Frame(CLOSE, code.to_bytes(2, "big") + reason.encode())


def texts(peer: RawClient, count: int) -> bytes:
    return b"".join(peer.frame(TEXT, b"%d" % number) for number in range(count))


def numbered(count: int) -> list[Frame]:
    return [Frame(TEXT, b"%d" % number) for number in range(count)]


def tls_or_not(tls: bool) -> dict[str, Any]:
    return {"ssl": server_tls()} if tls else {}


# Order.

OFFENCES = [
    (lambda peer: peer.frame(CLOSE, NORMAL), Frame(CLOSE, NORMAL)),
    (lambda peer: peer.frame(CLOSE, b""), Frame(CLOSE, b"")),
    (
        lambda peer: peer.frame(CLOSE, b"\x03\xe8\xff"),
        failure(1007, "invalid start byte at position 0"),
    ),
    (lambda peer: peer.frame(TEXT, b"x", rsv=4), failure(1002, "reserved bits must be 0")),
    (lambda peer: peer.frame(TEXT, b"x", mask=False), failure(1002, "incorrect masking")),
    (lambda peer: peer.frame(TEXT, b"\xff"), failure(1007, "invalid start byte at position 0")),
    (
        lambda peer: peer.frame(TEXT, bytes(1001)),
        failure(1009, "frame with 1001 bytes exceeds limit of 1000 bytes"),
    ),
]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("count", [1, 16, 17, 100])
@pytest.mark.parametrize("last, answer", OFFENCES)
def test_messages_are_answered_before_what_follows_them(
    last: Callable[[RawClient], bytes], answer: Frame, count: int, tls: bool
) -> None:
    """They come in one segment with a close frame, or with a frame that is wrong."""

    def handler(ws: ServerConnection) -> None:
        try:
            echo(ws)
        except ConnectionClosedError:
            pass

    options = tls_or_not(tls)
    with serving(handler, max_size=1000, **options) as server:
        with RawClient(server.address, ssl=client_tls() if tls else None) as peer:
            peer.send_bytes(texts(peer, count) + last(peer))
            assert [peer.recv_frame() for _ in range(count)] == numbered(count)
            assert peer.recv_frame() == answer
            assert peer.recv_frame() is None


def test_messages_and_the_end_of_the_stream_in_one_segment(ends: Ends) -> None:
    peer, ws = ends
    peer.send_bytes(texts(peer, 10))
    peer.close()
    assert [ws.recv() for _ in range(10)] == [str(number) for number in range(10)]
    with pytest.raises(ConnectionClosedError):
        ws.recv()


def test_message_before_a_reset(ends: Ends) -> None:
    # What the peer has not read makes its system end the connection by a reset, behind which
    # libuv watches no more.
    peer, ws = ends
    ws.send("unread")
    turns()
    for number in range(3):
        peer.send_frame(TEXT, b"%d" % number)
    peer.close()
    assert [ws.recv() for _ in range(3)] == ["0", "1", "2"]
    with pytest.raises(ConnectionClosedError):
        ws.recv(timeout=PATIENCE)


@pytest.mark.parametrize("waits", [False, True])
def test_close_is_answered_at_once_when_nobody_receives(ends: Ends, waits: bool) -> None:
    peer, ws = ends
    peer.send_bytes(texts(peer, 5))
    if waits:
        until(lambda: ws._inbox.size == 5)
        peer.send_frame(CLOSE, NORMAL)
    else:
        peer.send_bytes(peer.frame(CLOSE, NORMAL))
    assert peer.recv_frame() == Frame(CLOSE, NORMAL)
    assert peer.recv_frame() is None
    peer.close()
    assert ws.wait_closed(PATIENCE)
    # The messages are there, but nobody is there to be answered.
    assert ws.recv() == "0"
    with pytest.raises(ConnectionClosedOK, match=r"^received 1000 \(OK\); then sent 1000 \(OK\)$"):
        ws.send("too late")
    assert [ws.recv() for _ in range(4)] == ["1", "2", "3", "4"]


def test_close_is_answered_when_the_receiver_waits_for_something_else(ends: Ends) -> None:
    peer, ws = ends
    received: AsyncResult[Any] = AsyncResult()
    forever = Event()

    def receive_one() -> None:
        received.set(ws.recv())
        forever.wait()

    greenlet = gevent.spawn(receive_one)
    until(lambda: ws._receiver is greenlet)
    peer.send_bytes(texts(peer, 3) + peer.frame(CLOSE, NORMAL))
    assert received.get(timeout=PATIENCE) == "0"
    assert peer.recv_frame() == Frame(CLOSE, NORMAL)
    greenlet.kill()
    assert [ws.recv(), ws.recv()] == ["1", "2"]


def test_close_is_answered_when_the_receiver_is_killed_meanwhile(ends: Ends) -> None:
    for _ in range(20):
        with raw_client() as (peer, ws):
            greenlet = gevent.spawn(ws.recv)
            until(lambda: ws._receiver is greenlet)  # noqa: B023
            peer.send_bytes(texts(peer, 1) + peer.frame(CLOSE, NORMAL))
            gevent.sleep(0)
            greenlet.kill(block=False)
            assert peer.recv_frame() == Frame(CLOSE, NORMAL)


def test_pings_are_answered_while_the_handler_is_busy(ends: Ends) -> None:
    peer, _ = ends
    for number in range(3):
        peer.send_frame(PING, b"%d" % number)
        assert peer.recv_frame() == Frame(PONG, b"%d" % number)


def test_all_pings_of_one_segment_are_answered(ends: Ends) -> None:
    peer, _ = ends
    peer.send_bytes(b"".join(peer.frame(PING, b"%d" % number) for number in range(100)))
    frames = [peer.recv_frame() for _ in range(100)]
    assert frames == [Frame(PONG, b"%d" % number) for number in range(100)]


def test_message_with_the_opening_handshake() -> None:
    with serving(echo) as server, RawClient(server.address, open=False) as peer:
        request = peer.request()
        peer.send_bytes(request + texts(peer, 20) + peer.frame(CLOSE, NORMAL))
        peer.recv_response()
        assert [peer.recv_frame() for _ in range(20)] == numbered(20)
        assert peer.recv_frame() == Frame(CLOSE, NORMAL)


# Backpressure.


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "max_queue, high, low", [(16, 16, 4), ((4, 2), 4, 2), (1, 1, 0), (0, 1, 0)]
)
def test_queue_is_bounded_and_reading_goes_on(
    max_queue: Any, high: int, low: int, tls: bool
) -> None:
    total = 10 * high
    with raw_client(max_queue=max_queue, **tls_or_not(tls)) as (peer, ws):
        # In one segment: no event tells later that there is more to decode.
        peer.send_bytes(texts(peer, total))
        for start in range(0, total, high - low):
            until(lambda: ws._inbox.size == min(high, total - start))  # noqa: B023
            assert ws._stalled == (start + high < total)
            for number in range(start, min(start + high - low, total)):
                assert ws.recv(timeout=0) == str(number)
                turns(1)


def test_full_queue_stops_the_watcher() -> None:
    with raw_client(max_queue=(4, 2)) as (peer, ws):
        peer.send_bytes(texts(peer, 4))
        until(lambda: ws._inbox.size == 4)
        peer.send_bytes(texts(peer, 4))
        until(lambda: ws._stalled)
        assert not ws._read_watcher.active
        assert ws.recv() == "0"
        turns()
        # Still above the low mark.
        assert not ws._read_watcher.active
        assert ws.recv() == "1"
        until(lambda: ws._inbox.size >= 4)
        assert [ws.recv() for _ in range(6)] == ["2", "3", "0", "1", "2", "3"]
        until(lambda: ws._read_watcher.active)


@pytest.mark.parametrize("tls", [False, True])
def test_peer_cannot_send_more_than_the_queue_and_the_kernel_hold(tls: bool) -> None:
    with raw_client(max_queue=4, **tls_or_not(tls)) as (peer, ws):
        frame = peer.frame(BINARY, bytes(2**16))
        sent = 0

        def flood() -> None:
            nonlocal sent
            for _ in range(500):
                peer.send_bytes(frame)
                sent += 1

        flooding = gevent.spawn(flood)
        before = -1
        while sent != before:
            before = sent
            gevent.sleep(0.3)
        assert not flooding.dead
        assert ws._inbox.size <= 4
        for _ in range(500):
            assert ws.recv() == bytes(2**16)
        flooding.get(timeout=PATIENCE)


def test_unfinished_message_does_not_stop_reading() -> None:
    with raw_client(max_queue=4) as (peer, ws):
        peer.send_frame(TEXT, b"0", fin=False)
        for _ in range(98):
            peer.send_frame(CONT, b"0", fin=False)
        peer.send_frame(PING, b"p")
        assert peer.recv_frame() == Frame(PONG, b"p")
        peer.send_frame(CONT, b"0")
        assert ws.recv() == 100 * "0"


def test_close_goes_on_behind_a_full_queue() -> None:
    with raw_client(max_queue=4) as (peer, ws):
        peer.send_bytes(texts(peer, 100))
        until(lambda: ws._stalled)
        closing = gevent.spawn(ws.close)
        assert peer.recv_frame() == Frame(CLOSE, NORMAL)
        peer.send_bytes(texts(peer, 100) + peer.frame(CLOSE, NORMAL))
        assert peer.recv_frame() is None
        peer.close()
        closing.get(timeout=PATIENCE)
        assert ws.close_code == 1000
        # What fitted in can be read; there is no gap in it.
        messages = []
        with pytest.raises(ConnectionClosedOK):
            while True:
                messages.append(ws.recv())
        assert messages == [str(number) for number in range(len(messages))]
        assert len(messages) >= 4


def test_messages_dropped_while_closing_leave_no_gap() -> None:
    with raw_client(max_queue=4) as (peer, ws):
        closing = gevent.spawn(ws.close)
        assert peer.recv_frame() == Frame(CLOSE, NORMAL)
        # More than there is room for, then half a message...
        peer.send_bytes(texts(peer, 10) + peer.frame(TEXT, b"10", fin=False))
        until(lambda: ws._inbox.size == 4)
        assert [ws.recv() for _ in range(4)] == ["0", "1", "2", "3"]
        # ...and its other half, when there is room again.
        peer.send_bytes(peer.frame(CONT, b"half") + texts(peer, 2))
        peer.send_frame(CLOSE, NORMAL)
        peer.close()
        closing.get(timeout=PATIENCE)
        with pytest.raises(ConnectionClosed):
            ws.recv()


# Limits.


@pytest.mark.parametrize(
    "options, frames, answer, cause",
    [
        (
            {"max_size": 10},
            [(TEXT, b"x" * 6, False), (CONT, b"x" * 6, True)],
            failure(1009, "frame with 6 bytes after reading 6 bytes exceeds limit of 10 bytes"),
            PayloadTooBig,
        ),
        (
            {"max_size": (100, 10)},
            [(TEXT, b"x" * 11, True)],
            failure(1009, "frame with 11 bytes exceeds limit of 10 bytes"),
            PayloadTooBig,
        ),
        (
            {"max_fragments": 2},
            [(TEXT, b"x", False), (CONT, b"x", False), (CONT, b"x", False)],
            failure(1009, "too many fragments"),
            TooManyFragments,
        ),
        (
            {},
            [(CONT, b"x", True)],
            failure(1002, "unexpected continuation frame"),
            ProtocolError,
        ),
    ],
)
def test_offence(options: Any, frames: Any, answer: Frame, cause: type[Exception]) -> None:
    with raw_client(**options) as (peer, ws):
        for opcode, data, fin in frames:
            peer.send_frame(opcode, data, fin=fin)
        assert peer.recv_frame() == answer
        assert peer.recv_frame() is None
        peer.close()
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv()
        assert type(info.value.__cause__) is cause
        assert info.value.rcvd is None
        assert ws.close_code == 1006


# Errors where none may escape.


def test_receiver_that_dies_does_not_deafen_the_connection(
    ends: Ends, capsys: pytest.CaptureFixture[str]
) -> None:
    # The exception of a raw greenlet comes out of the switch that woke it (prototype R1).
    peer, ws = ends

    def die() -> None:
        raise ZeroDivisionError(ws.recv())

    for number in range(3):
        gevent.spawn_raw(die)
        until(lambda: ws._receiver is not None)
        peer.send_frame(TEXT, b"%d" % number)
        until(lambda: ws._receiver is None)
    peer.send_frame(TEXT, b"still there")
    assert ws.recv() == "still there"
    turns()
    assert capsys.readouterr().err.count("ZeroDivisionError: ") == 3


def test_sender_that_dies_does_not_deafen_the_connection(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with raw_client(write_limit=1000) as (peer, ws):

        def die() -> None:
            ws.send("x")
            raise ZeroDivisionError

        filler = gevent.spawn(lambda: [ws.send(bytes(2**16)) for _ in range(200)])
        until(lambda: ws._senders)
        gevent.spawn_raw(die)
        frames = [peer.recv_frame() for _ in range(201)]
        assert frames.count(Frame(TEXT, b"x")) == 1
        filler.get(timeout=PATIENCE)
        until(lambda: "ZeroDivisionError" in capsys.readouterr().err)
        peer.send_frame(TEXT, b"still there")
        assert ws.recv() == "still there"


def test_bug_of_ours_fails_the_connection_and_is_logged(
    ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    peer, ws = ends
    bug = ZeroDivisionError("bug")
    booby_trap(ws, bug)
    peer.send_frame(TEXT, b"x")
    assert peer.recv_frame() == failure(1011, "")
    assert peer.recv_frame() is None
    peer.close()
    with pytest.raises(ConnectionClosedError) as info:
        ws.recv()
    assert info.value.__cause__ is bug
    (record,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert record.message == "unexpected internal error"
    assert record.exc_info is not None
    assert record.exc_info[1] is bug


def test_bug_behind_a_full_queue_fails_the_connection() -> None:
    # There the bytes wait in the decoder, and no event tells of them.
    with raw_client(max_queue=4) as (peer, ws):
        peer.send_bytes(texts(peer, 10))
        until(lambda: ws._stalled)
        booby_trap(ws, ZeroDivisionError())
        for number in range(4):
            assert ws.recv() == str(number)
        assert peer.recv_frame() == failure(1011, "")


def test_ctrl_c_in_our_code_fails_the_connection_and_passes_on(ends: Ends) -> None:
    peer, ws = ends
    booby_trap(ws, KeyboardInterrupt())
    peer.send_frame(TEXT, b"x")
    with pytest.raises(KeyboardInterrupt):
        Event().wait(PATIENCE)
    assert peer.recv_frame() == failure(1011, "")
    peer.close()
    with pytest.raises(ConnectionClosedError):
        ws.recv()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_in_recv_leaves_the_connection_as_it_is(ends: Ends) -> None:
    peer, ws = ends
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        gevent.spawn(signal.raise_signal, signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            ws.recv(timeout=PATIENCE)
    finally:
        signal.signal(signal.SIGINT, before)
    peer.send_frame(TEXT, b"x")
    assert ws.recv() == "x"
    ws.send("y")
    assert peer.recv_frame() == Frame(TEXT, b"y")


# Fairness.


@pytest.mark.parametrize("tls", [False, True])
def test_the_loop_polls_within_a_flood_of_pings(tls: bool) -> None:
    with raw_client(**tls_or_not(tls)) as (peer, ws), Polls() as polls:
        peer.send_bytes(peer.frame(PING, b"") * (20 * TURN_FRAMES) + peer.frame(TEXT, b"end"))
        assert ws.recv(timeout=PATIENCE) == "end"
        assert polls.count >= 20


def test_the_loop_polls_within_a_flood_of_messages(ends: Ends) -> None:
    peer, ws = ends
    with Polls() as polls:
        peer.send_bytes(texts(peer, 200))
        for number in range(200):
            assert ws.recv(timeout=PATIENCE) == str(number)
            # A handler that takes more than a fair time for each.
            end = monotonic() + FAIR_TIME
            while monotonic() < end:
                pass
        assert polls.count >= 200 // 16
