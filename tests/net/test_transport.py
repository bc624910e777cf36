"""Tests of geventws.net.transport; what TLS says on the wire is tested in test_tls."""

from __future__ import annotations

import os
import socket as stdlib_socket
from collections.abc import Iterator

import gevent
import gevent.socket
import pytest
from gevent.monkey import get_original

from geventws import ConnectionClosedError, connect
from geventws.net.hubs import get_hub_state
from geventws.net.syscalls import DirectTransport
from geventws.net.transport import Transport, borrow_socket, own_socket, set_nodelay
from geventws.testing import RawServer
from tests.net.support import (
    HOST,
    PATIENCE,
    echo,
    receive,
    receive_all,
    server_tls,
    serving,
    turns,
    uri_of,
)

MODULES = {"gevent": gevent.socket.socket, "stdlib": get_original("socket", "socket")}


@pytest.fixture(params=[Transport, DirectTransport])
def plain(request: pytest.FixtureRequest) -> Iterator[tuple[Transport, Transport]]:
    ends = [request.param(own_socket(sock)) for sock in stdlib_socket.socketpair()]
    yield ends[0], ends[1]
    for end in ends:
        end.close()


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


def test_borrow_socket_before_tls_only() -> None:
    with gevent.socket.socket() as sock:
        secure = server_tls().wrap_socket(sock, True, do_handshake_on_connect=False)
        with secure, pytest.raises(TypeError, match="give its TLS configuration as ssl"):
            borrow_socket(secure)


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
    assert receive(other) is None
    assert one.send(b"hello") == 5
    assert receive(other) == b"hello"
    one.send_eof()
    assert receive(other) == b""
    # The other half is open.
    assert other.send(memoryview(b"world")) == 5
    assert receive(one) == b"world"


def test_plain_takes_what_fits(plain: tuple[Transport, Transport]) -> None:
    one, other = plain
    data = bytes(range(256)) * 2**14
    total = 0
    while sent := one.send(data[total:]):
        total += sent
    assert 0 < total < len(data)
    assert one.unsent == 0
    assert receive_all(other) == data[:total]


def test_plain_reads_no_more_than_the_buffer(plain: tuple[Transport, Transport]) -> None:
    one, other = plain
    state = get_hub_state()
    room = len(state.buffer)
    data = bytes(range(256)) * (room // 256 + 1)
    total = 0
    received = b""
    while total < len(data):
        total += one.send(data[total:])
        received += receive(other) or b""
    assert received + receive_all(other) == data
    assert len(state.buffer) == room


def test_plain_header_and_payload(plain: tuple[Transport, Transport]) -> None:
    one, other = plain
    assert one.send_large(b"header", b"payload") == 13
    assert receive(other) == b"headerpayload"
    payload = bytes(2**20)
    while one.send_large(b"header", payload):
        pass
    assert one.send_large(b"header", b"payload") == 0


def test_plain_end(plain: tuple[Transport, Transport]) -> None:
    one, other = plain
    assert one.eof_text == "x half-closing TCP connection"
    one.send_eof()
    assert receive(other) == b""
    # The other half goes on.
    other.send(b"x")
    assert receive(one) == b"x"
    one.close()
    # Nothing to end any more is no error.
    one.send_eof()


def test_plain_abandoned(plain: tuple[Transport, Transport]) -> None:
    one, other = plain
    one.abandon()
    assert one.fileno() == -1
    # The descriptor was the last one of its socket here.
    assert receive(other) == b""


def test_plain_explains_nothing_better(plain: tuple[Transport, Transport]) -> None:
    lost = ConnectionResetError()
    assert plain[0].explain(lost) is lost
    # Nor has it ciphertext.
    plain[0].flush()
    assert (plain[0].unsent, plain[0].again) == (0, False)


def test_closed(plain: tuple[Transport, Transport]) -> None:
    one, other = plain
    one.close()
    assert one.fileno() == -1
    one.send_eof()
    with pytest.raises(OSError, match="Bad file descriptor"):
        one.receive(get_hub_state())
    assert receive(other) == b""
    with pytest.raises(BrokenPipeError):
        other.send(b"x")
