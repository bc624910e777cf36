"""Tests of geventws.net.heartbeat: pings that keep connections alive."""

from __future__ import annotations

import contextlib
import pathlib
import socket
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.monkey
import pytest

from geventws import (
    ConnectionClosedError,
    ConnectionClosedOK,
    Frame,
    Opcode,
    ServerConnection,
    State,
    unix_serve,
)
from geventws.testing import RawClient, RawPeer
from tests.net.support import PATIENCE, Hold, pair, raw_client, raw_server, turns, until

TEXT, CLOSE, PING, PONG = Opcode.TEXT, Opcode.CLOSE, Opcode.PING, Opcode.PONG
TIMEOUT = Frame(CLOSE, (1011).to_bytes(2, "big") + b"keepalive ping timeout")

# The real one, which blocks the hub, under monkey patching too.
block = gevent.monkey.get_original("time", "sleep")


def recv_ping(peer: RawPeer) -> bytes:
    frame = peer.recv_frame()
    assert frame is not None
    assert frame.opcode is PING
    return frame.data


@contextlib.contextmanager
def raw_unix_client(
    path: pathlib.Path, **options: Any
) -> Iterator[tuple[RawClient, ServerConnection]]:
    """A raw client of a Unix socket, and the server's end of its connection."""
    hold = Hold()
    with unix_serve(hold, path, compression=None, **options), RawClient(path) as peer:
        try:
            yield peer, hold.get()
        finally:
            hold.done.set()


@pytest.mark.parametrize("ping_timeout", [5, None])
def test_pings_are_sent(ping_timeout: float | None) -> None:
    with raw_client(ping_interval=0.01, ping_timeout=ping_timeout) as (peer, ws):
        payloads = set()
        for _ in range(5):
            payloads.add(recv_ping(peer))
            peer.send_frame(PONG, list(payloads)[-1] if len(payloads) == 1 else b"")
            if ping_timeout is not None:
                break
        assert ws.state is State.OPEN
        assert len(payloads) == (1 if ping_timeout else 5)


def test_next_ping_follows_the_pong() -> None:
    with raw_client(ping_interval=0.01, ping_timeout=5) as (peer, ws):
        for _ in range(5):
            payload = recv_ping(peer)
            peer.send_frame(PONG, payload)
        until(lambda: ws.latency > 0)


def test_missing_pong_ends_the_connection() -> None:
    with raw_client(ping_interval=0.01, ping_timeout=0.05) as (peer, ws):
        recv_ping(peer)
        assert peer.recv_frame() == TIMEOUT
        assert peer.recv_frame() is None
        peer.close()
        error = r"^sent 1011 \(internal error\) keepalive ping timeout; no close frame received$"
        with pytest.raises(ConnectionClosedError, match=error):
            ws.recv()


def test_wrong_pong_does_not_count() -> None:
    with raw_client(ping_interval=0.01, ping_timeout=0.05) as (peer, _):
        peer.send_frame(PONG, recv_ping(peer)[::-1] + b"x")
        assert peer.recv_frame() == TIMEOUT


def test_pong_for_the_older_of_two_pings() -> None:
    with raw_client(ping_interval=None) as (peer, ws):
        older, newer = ws.ping("older"), ws.ping("newer")
        peer.send_frame(PONG, b"older")
        assert older.wait(PATIENCE)
        assert ws.latency == older.latency
        assert not newer.is_set()
        peer.send_frame(PONG, b"newer")
        assert newer.wait(PATIENCE)
        assert ws.latency == newer.latency
        # They are the application's: no keepalive ping is due after them.
        assert ws._deadline is None


def test_client_fails_alike() -> None:
    with raw_server(ping_interval=0.01, ping_timeout=0.05, close_timeout=0.1) as (ws, peer):
        recv_ping(peer)
        assert peer.recv_frame() == TIMEOUT
        with pytest.raises(ConnectionClosedError, match="keepalive ping timeout"):
            ws.recv()


def test_no_ping_interval_sends_no_pings() -> None:
    with raw_client(ping_interval=None, ping_timeout=0.01) as (peer, ws):
        # Nor is there a deadline for one.
        assert ws._deadline is None
        ws.send("x")
        assert peer.recv_frame() == Frame(TEXT, b"x")


def test_no_ping_timeout_waits_for_ever() -> None:
    with raw_client(ping_interval=0.01, ping_timeout=None) as (peer, ws):
        for _ in range(20):
            recv_ping(peer)
        assert ws.state is State.OPEN


def test_both_ends_keep_each_other_alive() -> None:
    options = {"ping_interval": 0.01, "ping_timeout": 5}
    with pair(client=options, server=options) as (client, server):
        seen = set()
        while len(seen) < 5:
            until(lambda: client.latency not in (0, *seen))  # noqa: B023
            seen.add(client.latency)
        until(lambda: server.latency)
        assert client.state is server.state is State.OPEN


def test_blocked_hub_loses_no_connection() -> None:
    """Peer and connection share the hub: pings and pongs lie unread while it is blocked."""
    options = {"ping_interval": 0.2, "ping_timeout": 0.3}
    with pair(client=options, server=options) as (client, server):
        for _ in range(2):
            block(1.6)
            client.send("still there")
            assert server.recv(timeout=PATIENCE) == "still there"
        turns()
        assert client.state is server.state is State.OPEN


def test_pong_that_lies_unread_counts() -> None:
    # Blocked for less than the second above which all deadlines move.
    with raw_client(ping_interval=0.01, ping_timeout=0.2) as (peer, ws):
        peer.send_frame(PONG, recv_ping(peer))
        block(0.5)
        recv_ping(peer)
        assert ws.state is State.OPEN


def test_busy_receiver_does_not_fail_the_peer() -> None:
    """Its pong may wait behind messages that we do not read."""
    with raw_client(ping_interval=0.01, ping_timeout=0.02, max_queue=2) as (peer, ws):
        for _ in range(20):
            peer.send_frame(TEXT, b"x")
        payload = recv_ping(peer)
        until(lambda: ws._stalled)
        until(lambda: user_timeout(ws))
        # By now several timeouts have passed; the pong is behind the messages.
        peer.send_frame(PONG, payload)
        assert ws.state is State.OPEN
        # Nobody answers the next ping, and the machine may be busy.
        ws._ping_timeout = PATIENCE
        for _ in range(20):
            assert ws.recv() == "x"
        assert recv_ping(peer)
        assert ws.state is State.OPEN


def test_busy_receiver_of_a_unix_socket_does_not_fail_the_peer(tmp_path: pathlib.Path) -> None:
    options = {"ping_interval": 0.01, "ping_timeout": 0.02, "max_queue": 2}
    with raw_unix_client(tmp_path / "socket", **options) as (peer, ws):
        for _ in range(20):
            peer.send_frame(TEXT, b"x")
        payload = recv_ping(peer)
        until(lambda: ws._stalled)
        for _ in range(3):
            # Each timeout sets another deadline.
            deadline = ws._deadline
            until(lambda: ws._deadline is not deadline)  # noqa: B023
            assert ws.state is State.OPEN
        peer.send_frame(PONG, payload)
        # Nobody answers the next ping, and the machine may be busy.
        ws._ping_timeout = PATIENCE
        for _ in range(20):
            assert ws.recv() == "x"
        # The answer counts.
        assert recv_ping(peer) != payload
        assert ws.state is State.OPEN


def test_busy_receiver_where_the_kernel_does_not_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing tells a peer that is gone from one whose pong waits behind its messages."""
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT", raising=False)
    with raw_client(ping_interval=0.02, ping_timeout=0.05, max_queue=2) as (peer, ws):
        for _ in range(20):
            peer.send_frame(TEXT, b"x")
        until(lambda: ws._stalled)
        recv_ping(peer)
        assert peer.recv_frame() == TIMEOUT


def user_timeout(ws: Any) -> int:
    """What the kernel is told, in milliseconds."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None:
        pytest.skip("the kernel does not watch peers")
    value: int = ws._transport.sock.getsockopt(socket.IPPROTO_TCP, option)
    return value


def test_pings_are_spread() -> None:
    """Connections opened at the same moment do not ping at the same moment."""
    with raw_client(ping_interval=1000) as (_, one), raw_client(ping_interval=1000) as (_, two):
        now = one._state.keepalive.now()
        delays = [ws._deadline.when - now for ws in (one, two)]  # type: ignore[union-attr]
        assert all(490 < delay <= 1000 for delay in delays)
        assert delays[0] != delays[1]


def test_killed_keepalive_greenlet_is_replaced() -> None:
    with raw_client(ping_interval=0.01, ping_timeout=5) as (peer, ws):
        for _ in range(3):
            ws._state.keepalive._greenlet.kill()
            peer.send_frame(PONG, recv_ping(peer))


def test_keepalive_ends_with_the_connection() -> None:
    with raw_client(ping_interval=1000, ping_timeout=5) as (peer, ws):
        deadline = ws._deadline
        assert deadline is not None
        assert deadline.owner is ws
        peer.close()
        assert ws.wait_closed(PATIENCE)
        assert deadline.owner is None


@pytest.mark.parametrize("unread", ["end", "close frame and end"])
def test_close_that_lies_unread_counts(unread: str, tmp_path: pathlib.Path) -> None:
    """The deadline of the closing handshake strikes before the loop has looked at the socket."""
    with raw_unix_client(tmp_path / "socket", close_timeout=PATIENCE) as (peer, ws):
        closing = gevent.spawn(ws.close)
        frame = peer.recv_close()
        assert frame is not None
        peer.send_frame(CLOSE, frame.data)
        if unread == "end":
            # Which the server waits for, once it has the close frame.
            assert peer.recv_eof()
        peer.sock.shutdown(socket.SHUT_WR)
        assert ws.state is State.CLOSING
        ws.on_deadline()
        assert ws.state is State.CLOSED
        closing.get(timeout=PATIENCE)
        with pytest.raises(ConnectionClosedOK) as raised:
            ws.recv()
        # No TimeoutError.
        assert raised.value.__cause__ is None
