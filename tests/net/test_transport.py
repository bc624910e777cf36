"""Tests of geventws.net.transport; what TLS says on the wire is tested in test_tls."""

from __future__ import annotations

import os
import socket as stdlib_socket
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent.monkey import get_original

from geventws import ConnectionClosedError, connect
from geventws.net.hubs import get_hub_state
from geventws.net.transport import (
    TLS_CHUNK,
    PlainTransport,
    TLSTransport,
    Transport,
    borrow_socket,
    own_socket,
    set_nodelay,
)
from geventws.testing import RawServer
from tests.net.support import HOST, PATIENCE, client_tls, echo, server_tls, serving, turns, uri_of

MODULES = {"gevent": gevent.socket.socket, "stdlib": get_original("socket", "socket")}


@pytest.fixture
def plain() -> Iterator[tuple[Transport, Transport]]:
    ends = [PlainTransport(own_socket(sock)) for sock in stdlib_socket.socketpair()]
    yield ends[0], ends[1]
    for end in ends:
        end.close()


@pytest.fixture
def tls() -> Iterator[tuple[TLSTransport, TLSTransport]]:
    client_sock, server_sock = (own_socket(sock) for sock in stdlib_socket.socketpair())
    client = TLSTransport(client_sock, client_tls(), False, "localhost")
    server = TLSTransport(server_sock, server_tls(), True)
    state = get_hub_state()
    done = [False, False]
    while not all(done):
        done = [client.handshake(state), server.handshake(state)]
    yield client, server
    client.close()
    server.close()


def receive_all(transport: Transport) -> bytes:
    """Receive all that is there."""
    data = []
    while part := transport.receive(get_hub_state()):
        data.append(part)
    return b"".join(data)


# Sockets.


@pytest.mark.parametrize("kind", MODULES)
def test_own_socket(kind: str) -> None:
    one, other = stdlib_socket.socketpair()
    sock = MODULES[kind](fileno=one.detach())
    number = sock.fileno()
    own = own_socket(sock)
    assert sock.fileno() == -1
    assert (own.fileno(), own.gettimeout()) == (number, 0)
    other.send(b"x")
    assert own.recv(1) == b"x"
    own.close()
    other.close()


@pytest.mark.parametrize("kind", MODULES)
def test_connection_on_a_socket_that_the_user_keeps(kind: str) -> None:
    with serving(echo) as server:
        sock = MODULES[kind]()
        sock.connect(server.address)
        with connect(uri_of(server), sock=sock) as ws:
            ws.send("x")
            assert ws.recv() == "x"
        assert sock.fileno() == -1


@pytest.mark.parametrize("kind", MODULES)
def test_descriptor_that_another_gets_is_not_read(kind: str) -> None:
    """Its owner closes the socket under our watcher, and the number is used again (R8)."""
    with RawServer() as server:
        sock = MODULES[kind]()
        sock.connect(server.address)
        opening = gevent.spawn(connect, server.uri, sock=sock, compression=None)
        peer = server.accept()
        ws = opening.get(timeout=PATIENCE)
        number = sock.fileno()
        # libuv aborts the process if the descriptor is closed before it is watched.
        turns(1)
        sock.close()
        # gevent closes the descriptor a moment later.
        turns(1)
        assert ws._transport.fileno() == -1
        one, other = get_original("socket", "socketpair")()
        one.setblocking(False)
        if one.fileno() != number:
            os.dup2(one.fileno(), number)
        other.send(b"not yours")
        turns()
        assert one.recv(100) == b"not yours"
        # The connection finds out when it is used, or pings, at the latest.
        with pytest.raises(ConnectionClosedError):
            ws.send("x")
            ws.recv(timeout=PATIENCE)
        ws.close()
        other.send(b"still there")
        assert one.recv(100) == b"still there"
        if one.fileno() != number:
            os.close(number)
        one.close()
        other.close()
        peer.close()


@pytest.mark.parametrize("kind", MODULES)
def test_borrow_socket_does_not_wait(kind: str) -> None:
    one, other = stdlib_socket.socketpair()
    with MODULES[kind](fileno=one.detach()) as sock, other:
        with pytest.raises(BlockingIOError):
            borrow_socket(sock).recv(1)


def test_set_nodelay() -> None:
    option = stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY
    sock = stdlib_socket.socket()
    with sock:
        set_nodelay(sock)
        assert sock.getsockopt(*option)
    # Where there is no such option, it is not needed.
    unix = stdlib_socket.socket(stdlib_socket.AF_UNIX)
    with unix:
        set_nodelay(unix)


def test_both_ends_of_a_connection_send_at_once() -> None:
    option = stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY
    with serving(echo) as server, connect(uri_of(server)) as client:
        (ws,) = server.connections
        for end in (client, ws):
            assert end._transport.sock.getsockopt(*option)
        assert client.remote_address == (HOST, server.address[1])


# Plain.


def test_plain(plain: tuple[Transport, Transport]) -> None:
    one, other = plain
    state = get_hub_state()
    assert other.receive(state) is None
    assert one.send(b"hello") == 5
    assert other.receive(state) == b"hello"
    one.send_eof()
    assert other.receive(state) == b""
    # The other half is open.
    other.send(b"world")
    assert one.receive(state) == b"world"


def test_plain_takes_what_fits(plain: tuple[Transport, Transport]) -> None:
    one, other = plain
    data = bytes(range(256)) * 2**14
    sent = one.send(data)
    assert 0 < sent < len(data)
    with pytest.raises(BlockingIOError):
        while True:
            sent += one.send(data[sent:])
    assert one.unsent == 0
    assert receive_all(other) == data[:sent]


def test_plain_reads_no_more_than_the_buffer(plain: tuple[Transport, Transport]) -> None:
    one, other = plain
    state = get_hub_state()
    for _ in range(2):
        one.send(bytes(100))
    part = other.receive(state)
    assert part is not None
    assert len(part) in (100, 200)
    # What was read does not change when the buffer is used again.
    one.send(b"y" * 100)
    other.receive(state)
    assert part == bytes(len(part))


def test_closed(plain: tuple[Transport, Transport]) -> None:
    one, other = plain
    one.close()
    assert one.fileno() == -1
    one.send_eof()
    with pytest.raises(OSError, match="Bad file descriptor"):
        one.receive(get_hub_state())
    assert other.receive(get_hub_state()) == b""
    with pytest.raises(BrokenPipeError):
        other.send(b"x")


# TLS.


def test_tls(tls: tuple[TLSTransport, TLSTransport]) -> None:
    client, server = tls
    state = get_hub_state()
    for one, other in ((client, server), (server, client)):
        assert one.send(b"hello") == 5
        assert receive_all(other) == b"hello"
        assert other.receive(state) is None


def test_tls_decrypts_all_that_it_reads(tls: tuple[TLSTransport, TLSTransport]) -> None:
    client, server = tls
    for number in range(100):
        client.send(b"%02d" % number)
    data = server.receive(get_hub_state())
    assert data == b"".join(b"%02d" % number for number in range(100))
    assert server.tls.pending() == 0


def test_tls_holds_ciphertext_that_does_not_fit(tls: tuple[TLSTransport, TLSTransport]) -> None:
    client, server = tls
    data = bytes(range(256)) * 2**14
    sent = 0
    while not client.unsent:
        sent += client.send(data[sent:])
    # What is encrypted counts as sent; not much more than a chunk is held.
    assert 0 < sent < len(data)
    assert client.unsent <= TLS_CHUNK + 1024
    assert client.send(b"no room") == 0
    received = b""
    while client.unsent:
        received += server.receive(get_hub_state()) or b""
        client.flush()
    received += receive_all(server)
    assert received == data[:sent]
    assert client.send(b"room again") == 10
    assert receive_all(server) == b"room again"


@pytest.mark.parametrize("wrap", [bytes, memoryview])
def test_tls_sends_empty_data(tls: tuple[TLSTransport, TLSTransport], wrap: Any) -> None:
    client, server = tls
    assert client.send(wrap(b"")) == 0
    assert server.receive(get_hub_state()) is None


def test_tls_end_behind_data(tls: tuple[TLSTransport, TLSTransport]) -> None:
    client, server = tls
    client.send(b"last")
    client.send_eof()
    client.send_eof()
    state = get_hub_state()
    assert server.receive(state) == b"last"
    assert server.receive(state) == b""
    assert server.receive(state) == b""


def test_tls_error_behind_data(tls: tuple[TLSTransport, TLSTransport]) -> None:
    client, server = tls
    client.send(b"last")
    client.sock.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    state = get_hub_state()
    assert server.receive(state) == b"last"
    for _ in range(2):
        with pytest.raises(OSError):
            server.receive(state)


def test_tls_abandoned_says_nothing(tls: tuple[TLSTransport, TLSTransport]) -> None:
    client, server = tls
    # As in a forked child: the parent's descriptor stays open.
    copy = os.dup(client.fileno())
    client.abandon()
    assert server.receive(get_hub_state()) is None
    os.close(copy)
