"""Tests of geventws.net.pings, and of `ping` on a connection."""

from __future__ import annotations

import os
from collections.abc import Iterator

import gevent
import pytest

from geventws import ClientConnection, ConcurrencyError, Frame, Opcode
from geventws.net.pings import MAX_PENDING, Ping, PingBook
from geventws.testing import RawPeer
from tests.net.support import PATIENCE, in_thread, pair, raw_server, turns, until

TEXT, CLOSE, PING, PONG = Opcode.TEXT, Opcode.CLOSE, Opcode.PING, Opcode.PONG

Ends = tuple[ClientConnection, RawPeer]


@pytest.fixture
def ends() -> Iterator[Ends]:
    with raw_server() as both:
        yield both


def recv_ping(peer: RawPeer) -> bytes:
    frame = peer.recv_frame()
    assert frame is not None
    assert frame.opcode is PING
    return frame.data


# The book.


def test_new_payloads_differ() -> None:
    book = PingBook()
    for _ in range(MAX_PENDING):
        book.add(book.new_payload(), Ping())
    assert len(book._pending) == MAX_PENDING


def test_pings_without_pongs_do_not_pile_up() -> None:
    book = PingBook()
    pings = [Ping(ack_on_close=True) for _ in range(MAX_PENDING + 10)]
    for ping in pings:
        book.add(book.new_payload(), ping)
    assert len(book._pending) == MAX_PENDING
    assert [ping.wait(0.001) for ping in pings[:10]] == [False] * 10


def test_new_payload_that_a_pending_ping_has_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # It happens once in a few million pings.
    payloads = [b"same", b"same", b"same", b"next"]
    monkeypatch.setattr(os, "urandom", lambda size: payloads.pop(0)[:size])
    book = PingBook()
    book.add(book.new_payload(), Ping())
    assert book.new_payload() == b"next"
    assert not payloads


def test_pong_answers_older_pings() -> None:
    book = PingBook()
    pings = {name: Ping() for name in (b"a", b"b", b"c")}
    for name, ping in pings.items():
        book.add(name, ping)
    assert book.receive_pong(b"b") == [pings[b"a"], pings[b"b"]]
    assert [ping.is_set() for ping in pings.values()] == [True, True, False]
    assert book
    assert book.receive_pong(b"a") == []
    assert book.receive_pong(b"c") == [pings[b"c"]]
    assert not book


def test_unknown_pong_answers_nothing() -> None:
    book = PingBook()
    book.add(b"a", Ping())
    assert book.receive_pong(b"b") == []
    assert book


def test_discarded_ping() -> None:
    book = PingBook()
    book.add(b"a", Ping())
    book.discard(b"a")
    book.discard(b"a")
    assert not book


def test_end_of_the_book() -> None:
    book = PingBook()
    plain, ack = Ping(), Ping(ack_on_close=True)
    book.add(b"a", plain)
    book.add(b"b", ack)
    book.close()
    assert (plain.wait(), ack.wait()) == (False, True)
    assert (plain.latency, ack.latency) == (None, None)


def test_wait_in_another_thread() -> None:
    """Only the thread that sent the ping can wait for its pong; all can look whether it came."""
    book = PingBook()
    ping = Ping()
    book.add(b"a", ping)
    with pytest.raises(ConcurrencyError, match=r"belongs to thread (\d+).*in thread (?!\1\b)\d+;"):
        in_thread(ping.wait)
    book.receive_pong(b"a")
    assert in_thread(ping.wait) is True


# On a connection.


def test_ping_and_pong() -> None:
    with pair() as (client, server):
        for ws in (client, server):
            assert ws.latency == 0
            ping = ws.ping()
            assert not ping.is_set()
            assert ping.latency is None
            assert ping.wait(PATIENCE) is True
            assert ping.is_set()
            assert ping.latency is not None
            assert 0 < ping.latency < PATIENCE
            assert ws.latency == ping.latency


def test_wait_without_a_pong(ends: Ends) -> None:
    ws, peer = ends
    ping = ws.ping(b"x")
    assert ping.wait(0.001) is False
    peer.send_frame(PONG, b"x")
    assert ping.wait(PATIENCE) is True


def test_later_pong_answers_earlier_pings(ends: Ends) -> None:
    ws, peer = ends
    pings = [ws.ping() for _ in range(3)]
    payloads = [recv_ping(peer) for _ in range(3)]
    peer.send_frame(PONG, payloads[1])
    assert pings[1].wait(PATIENCE)
    assert [ping.is_set() for ping in pings] == [True, True, False]
    assert pings[0].latency is not None


def test_unsolicited_pong_is_ignored(ends: Ends) -> None:
    ws, peer = ends
    peer.send_frame(PONG, b"x")
    ping = ws.ping(b"x")
    peer.send_frame(PONG, b"y")
    peer.send_frame(TEXT, b"now")
    assert ws.recv() == "now"
    turns()
    # The first pong came before the ping, if it came late; only b"x" counts after it.
    peer.send_frame(PONG, b"x")
    assert ping.wait(PATIENCE)


def test_same_data_twice(ends: Ends) -> None:
    ws, peer = ends
    ping = ws.ping(b"x")
    with pytest.raises(ConcurrencyError, match="already waiting for a pong with the same data"):
        ws.ping(b"x")
    peer.send_frame(PONG, b"x")
    assert ping.wait(PATIENCE)
    assert recv_ping(peer) == b"x"
    ws.ping(b"x")
    assert recv_ping(peer) == b"x"


@pytest.mark.parametrize("ack_on_close", [False, True])
def test_wait_ends_with_the_connection(ends: Ends, ack_on_close: bool) -> None:
    ws, peer = ends
    waiting = gevent.spawn(ws.ping(ack_on_close=ack_on_close).wait)
    turns(1)
    peer.close()
    assert waiting.get(timeout=PATIENCE) is ack_on_close


def test_payload_chosen_by_us_is_short(ends: Ends) -> None:
    ws, peer = ends
    ws.ping()
    assert len(recv_ping(peer)) == 4


def test_ping_is_answered_while_nobody_receives() -> None:
    with pair() as (client, server):
        client.send("unread")
        until(lambda: server._inbox.size)
        assert client.ping().wait(PATIENCE)
        assert server.recv() == "unread"


def test_ping_behind_messages_tells_that_they_arrived() -> None:
    with pair(server={"max_queue": None}) as (client, server):
        for _ in range(50):
            client.send(bytes(10_000))
        assert client.ping().wait(PATIENCE)
        assert server._inbox.size == 50


def test_frames(ends: Ends) -> None:
    ws, peer = ends
    ws.ping("é")
    assert peer.recv_frame() == Frame(PING, "é".encode())
