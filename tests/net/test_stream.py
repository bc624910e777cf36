"""Tests of geventws.net.stream, from above: what reaches the peer, and when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventws import ConnectionClosed, Frame, Opcode, ServerConnection
from geventws.net import stream
from geventws.testing import RawClient, RawPeer
from tests.net.support import (
    PATIENCE,
    Interruption,
    echo,
    raw_client,
    raw_server,
    server_tls,
    serving,
    spy_writes,
    squeeze,
    turns,
    until,
)

TEXT, BINARY = Opcode.TEXT, Opcode.BINARY
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG
NORMAL = (1000).to_bytes(2, "big")

Ends = tuple[RawClient, ServerConnection]


@pytest.fixture
def ends() -> Iterator[Ends]:
    with raw_client() as both:
        yield both


@pytest.fixture
def joining(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause of a busy machine is longer than a burst."""
    monkeypatch.setattr(stream, "JOIN_TIME", 60)


def numbered(count: int) -> list[Frame]:
    return [Frame(TEXT, b"%d" % number) for number in range(count)]


def burst(peer: RawPeer, count: int) -> None:
    """Send messages in one segment."""
    peer.send_bytes(b"".join(peer.frame(frame.opcode, frame.data) for frame in numbered(count)))


def recv_frames(peer: RawPeer, count: int) -> list[Frame | None]:
    return [peer.recv_frame() for _ in range(count)]


# Waiting for room.


@pytest.mark.parametrize("tls", [False, True])
def test_send_waits_above_high_and_goes_on_at_low(tls: bool) -> None:
    high, low, size = 200_000, 20_000, 50_000
    options: dict[str, Any] = {"ssl": server_tls()} if tls else {}
    with raw_client(write_limit=(high, low), **options) as (peer, ws):
        squeeze(ws, peer)

        def waiting() -> int:
            return ws._queued + ws._transport.unsent

        def send() -> int:
            waits = 0
            for number in range(40):
                must_wait = waiting() > high
                waits += must_wait
                ws.send(b"%d" % (number % 10) * size)
                # It waits until little is left; then the message comes on top.
                assert waiting() <= (low if must_wait else high) + size + 14
            return waits

        sender = gevent.spawn(send)
        until(lambda: ws._senders)
        assert waiting() <= high + size + 14
        for number in range(40):
            # The peer reads only while the sender waits, or it might never have to again.
            until(lambda: ws._senders or sender.dead)
            frame = peer.recv_frame()
            assert frame is not None
            assert frame.data == b"%d" % (number % 10) * size
        assert sender.get(timeout=PATIENCE) > 2


def test_small_message_behind_a_big_one_waits_for_room() -> None:
    with raw_client(write_limit=(1000, 100)) as (peer, ws):
        squeeze(ws, peer)
        ws.send(bytes(2**20))
        assert ws._queued > 1000
        sender = gevent.spawn(ws.send, "x")
        turns()
        assert not sender.dead
        assert peer.recv_frame() == Frame(BINARY, bytes(2**20))
        assert peer.recv_frame() == Frame(TEXT, b"x")
        sender.get(timeout=PATIENCE)


def test_write_limit_of_zero() -> None:
    with raw_client(write_limit=0) as (peer, ws):
        squeeze(ws, peer)
        messages = [bytes([number]) * 50_000 for number in range(20)]

        def send() -> None:
            for message in messages:
                ws.send(message)

        sender = gevent.spawn(send)
        assert recv_frames(peer, 20) == [Frame(BINARY, message) for message in messages]
        sender.get(timeout=PATIENCE)


# Pongs.


@pytest.mark.parametrize("tls", [False, True])
def test_newest_pong_replaces_one_that_waits(tls: bool) -> None:
    """A peer that floods us with pings and reads nothing costs no memory."""
    options: dict[str, Any] = {"ssl": server_tls()} if tls else {}
    with raw_client(**options, write_limit=2**22) as (peer, ws):
        squeeze(ws, peer)
        ws.send(bytes(2**20))
        before = ws._queued + ws._transport.unsent
        assert before
        for number in range(300):
            peer.send_frame(PING, b"%d" % number)
            gevent.sleep(0)
        peer.send_frame(TEXT, b"flooded")
        assert ws.recv() == "flooded"
        assert ws._queued + ws._transport.unsent <= before + 10
        ws.send("after")
        assert peer.recv_frame() == Frame(BINARY, bytes(2**20))
        rest = [peer.recv_frame()]
        while rest[-1] != Frame(TEXT, b"after"):
            rest.append(peer.recv_frame())
        # The newest is there; none of the others took much room.
        assert Frame(PONG, b"299") in [*rest, peer.recv_frame() if len(rest) == 1 else None]
        assert len(rest) <= 3


def test_pong_does_not_wait_for_the_end_of_the_queue() -> None:
    with raw_client(write_limit=2**24) as (peer, ws):
        squeeze(ws, peer)
        for number in range(20):
            ws.send(bytes([number]) * 2**19)
        peer.send_frame(PING, b"p")
        peer.send_frame(TEXT, b"now")
        assert ws.recv() == "now"
        frames = recv_frames(peer, 21)
        # 5.5.3: "as soon as is practical": behind the frame under way, a few at most.
        assert Frame(PONG, b"p") in frames[:5]


def test_pong_for_which_only_ciphertext_waits() -> None:
    with raw_client(ssl=server_tls()) as (peer, ws):
        squeeze(ws, peer)
        size = 0
        # Until all is encrypted, but not all of that is sent.
        while not ws._transport.unsent:
            ws.send(bytes(30_000))
            size += 1
        assert not ws._queued
        peer.send_frame(PING, b"p")
        peer.send_frame(TEXT, b"now")
        assert ws.recv() == "now"
        assert recv_frames(peer, size) == [Frame(BINARY, bytes(30_000))] * size
        assert peer.recv_frame() == Frame(PONG, b"p")


def test_nothing_follows_a_close_frame() -> None:
    with raw_client(close_timeout=5) as (peer, ws):
        squeeze(ws, peer)
        for _ in range(30):
            ws.send(bytes(10_000))
        while not ws._queued:
            ws.send(bytes(10_000))
        peer.send_frame(PING, b"p")
        peer.send_frame(TEXT, b"now")
        assert ws.recv() == "now"
        closing = gevent.spawn(ws.close)
        turns()
        frames = []
        while not frames or frames[-1].opcode is not CLOSE:
            frame = peer.recv_frame()
            assert frame is not None
            frames.append(frame)
        assert Frame(PONG, b"p") in frames
        peer.send_frame(CLOSE, NORMAL)
        assert peer.recv_frame() is None
        peer.close()
        closing.get(timeout=PATIENCE)


# Joining writes.


def test_answers_to_a_burst_are_joined(joining: None) -> None:
    for count in (16, 200):
        with serving(echo) as server, RawClient(server.address) as peer:
            peer.send_frame(TEXT, b"hello")
            assert peer.recv_frame() == Frame(TEXT, b"hello")
            (ws,) = server.connections
            written = spy_writes(ws)
            burst(peer, count)
            assert recv_frames(peer, count) == numbered(count)
            # Sixteen messages, the queue's bound, are a burst.
            assert len(written) <= 2 * -(-count // 12)


def test_first_answer_of_a_burst_leaves_at_once(joining: None) -> None:
    with raw_client() as (peer, ws):
        burst(peer, 3)
        until(lambda: ws._inbox.size == 3)
        written = spy_writes(ws)
        sizes = []
        for _ in range(3):
            ws.send(ws.recv())
            sizes.append(len(written))
        # The last answer answers the last message: nothing follows it.
        assert sizes == [1, 1, 2]
        assert recv_frames(peer, 3) == numbered(3)


def test_single_answer_is_not_delayed(ends: Ends) -> None:
    peer, ws = ends
    written = spy_writes(ws)
    for number in range(1, 20):
        peer.send_frame(TEXT, b"x")
        ws.send(ws.recv())
        assert len(written) == number
        assert peer.recv_frame() == Frame(TEXT, b"x")


def test_answers_of_a_slow_handler_are_not_delayed(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It takes longer than the time for which answers are held back.
    monkeypatch.setattr(stream, "JOIN_TIME", -1)
    peer, ws = ends
    burst(peer, 5)
    until(lambda: ws._inbox.size == 5)
    written = spy_writes(ws)
    for number in range(1, 6):
        ws.send(ws.recv())
        assert len(written) == number


def test_joined_answers_leave_when_the_handler_waits_for_something_else(
    ends: Ends, joining: None
) -> None:
    peer, ws = ends
    burst(peer, 8)
    until(lambda: ws._inbox.size == 8)
    ws.recv()
    for _ in range(7):
        ws.send("x")
    # Not in recv(): at the next turn of the loop.
    assert recv_frames(peer, 7) == [Frame(TEXT, b"x")] * 7


def test_joined_answers_leave_at_a_size(ends: Ends, joining: None) -> None:
    peer, ws = ends
    burst(peer, 8)
    until(lambda: ws._inbox.size == 8)
    written = spy_writes(ws)
    ws.send("first")
    for _ in range(6):
        ws.send(bytes(10_000))
    assert len(written) == 1
    ws.send(bytes(10_000))
    assert len(written) == 2
    assert len(written[1]) > 65536


def test_control_frames_keep_their_place_among_joined_answers(ends: Ends, joining: None) -> None:
    peer, ws = ends
    burst(peer, 8)
    until(lambda: ws._inbox.size == 8)
    ws.send("a")
    ws.send("b")
    ws.ping(b"p")
    ws.send("c")
    ws.pong(b"q")
    closing = gevent.spawn(ws.close)
    assert recv_frames(peer, 6) == [
        Frame(TEXT, b"a"),
        Frame(TEXT, b"b"),
        Frame(PING, b"p"),
        Frame(TEXT, b"c"),
        Frame(PONG, b"q"),
        Frame(CLOSE, NORMAL),
    ]
    peer.send_frame(CLOSE, NORMAL)
    peer.recv_frame()
    peer.close()
    closing.get(timeout=PATIENCE)


# batch().


def test_batch_joins(ends: Ends) -> None:
    peer, ws = ends
    written = spy_writes(ws)
    with ws.batch():
        for number in range(10):
            ws.send(str(number))
        turns()
        assert not written
    assert len(written) == 1
    assert recv_frames(peer, 10) == numbered(10)


def test_batches_nest(ends: Ends) -> None:
    peer, ws = ends
    written = spy_writes(ws)
    with ws.batch():
        ws.send("0")
        with ws.batch():
            ws.send("1")
        turns()
        assert not written
        ws.send("2")
    assert len(written) == 1
    assert recv_frames(peer, 3) == numbered(3)
    ws.send("at once")
    assert len(written) == 2


def test_batch_is_flushed_by_an_exception(ends: Ends) -> None:
    peer, ws = ends
    with pytest.raises(KeyError), ws.batch():
        ws.send("0")
        raise KeyError
    assert recv_frames(peer, 1) == numbered(1)


@pytest.mark.parametrize("exc", [gevent.GreenletExit, gevent.Timeout, Interruption])
def test_batch_is_flushed_by_a_kill(ends: Ends, exc: type[BaseException]) -> None:
    peer, ws = ends
    ready = Event()

    def send() -> None:
        with ws.batch():
            ws.send("0")
            ready.set()
            Event().wait()

    sender = gevent.spawn(send)
    assert ready.wait(PATIENCE)
    sender.kill(exc)
    assert recv_frames(peer, 1) == numbered(1)


def test_batch_does_not_grow_without_bound() -> None:
    with raw_client(write_limit=(30_000, 10_000)) as (peer, ws):
        written = spy_writes(ws)
        with ws.batch():
            for _ in range(100):
                ws.send(bytes(1000))
                assert ws._queued <= 31_000
            assert written
        assert recv_frames(peer, 100) == [Frame(BINARY, bytes(1000))] * 100


def test_batch_waits_for_room() -> None:
    with raw_client(write_limit=(30_000, 10_000)) as (peer, ws):
        squeeze(ws, peer)

        def send() -> None:
            with ws.batch():
                for _ in range(100):
                    ws.send(bytes(10_000))

        sender = gevent.spawn(send)
        until(lambda: ws._senders)
        assert ws._queued <= 40_100
        assert recv_frames(peer, 100) == [Frame(BINARY, bytes(10_000))] * 100
        sender.get(timeout=PATIENCE)


def test_close_in_a_batch() -> None:
    with raw_server() as (ws, peer):
        with ws.batch():
            ws.send("0")
            closing = gevent.spawn(ws.close)
            assert recv_frames(peer, 2) == [*numbered(1), Frame(CLOSE, NORMAL)]
        peer.send_frame(CLOSE, NORMAL)
        peer.close()
        closing.get(timeout=PATIENCE)


def test_connection_lost_in_a_batch(ends: Ends) -> None:
    peer, ws = ends
    with ws.batch():
        ws.send("x")
        peer.reset()
        assert ws.wait_closed(PATIENCE)
        with pytest.raises(ConnectionClosed):
            ws.send("y")


# The end of the stream.


def test_close_frame_goes_behind_the_queue() -> None:
    with raw_client(write_limit=2**22) as (peer, ws):
        squeeze(ws, peer)
        ws.send(bytes(2**21))
        closing = gevent.spawn(ws.close)
        turns()
        assert peer.recv_frame() == Frame(BINARY, bytes(2**21))
        assert peer.recv_frame() == Frame(CLOSE, NORMAL)
        peer.send_frame(CLOSE, NORMAL)
        assert peer.recv_frame() is None
        peer.close()
        closing.get(timeout=PATIENCE)


def test_queue_is_dropped_at_close_timeout() -> None:
    with raw_client(write_limit=2**22, close_timeout=0.1) as (peer, ws):
        squeeze(ws, peer)
        ws.send(bytes(2**21))
        with gevent.Timeout(PATIENCE):
            ws.close()
        assert (ws.close_code, ws._queued) == (1006, 0)
