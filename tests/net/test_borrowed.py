"""Tests of geventws.net.borrowed: sockets whose owner keeps them."""

from __future__ import annotations

import errno
import os
import socket as stdlib_socket
import ssl
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.socket
import gevent.ssl
import pytest
from gevent.monkey import get_original

from geventws.net.borrowed import (
    RETURNED,
    TLS_RECORD,
    BorrowedTLSTransport,
    BorrowedTransport,
    DuplicateTransport,
    borrow_transport,
)
from geventws.net.hubs import RECEIVE_BUFFER_SIZE
from geventws.net.stream import READ, WRITE
from tests.net.support import client_tls, occupy, receive, server_tls, turns

MODULES = {"gevent": gevent.socket.socket, "stdlib": get_original("socket", "socket")}

every_kind = pytest.mark.parametrize("kind", MODULES)


def socketpair() -> tuple[Any, Any]:
    return get_original("socket", "socketpair")()  # type: ignore[no-any-return]


@every_kind
def test_owner_gets_its_socket_back(kind: str) -> None:
    one, other = socketpair()
    sock = MODULES[kind](fileno=one.detach())
    sock.settimeout(5)
    transport = borrow_transport(sock)
    assert type(transport) is BorrowedTransport
    assert sock.gettimeout() == 5
    transport.begin()
    assert receive(transport) is None
    transport.send(b"to")
    assert other.recv(10) == b"to"
    other.send(b"fro")
    assert receive(transport) == b"fro"
    transport.close()
    # TCP has ended, and the descriptor is open.
    assert (sock.gettimeout(), sock.fileno()) == (5, transport.fileno())
    assert other.recv(10) == b""
    assert sock.recv(10) == b""
    sock.close()
    other.close()
    # The owner was faster.
    transport.close()


@every_kind
def test_descriptor_that_another_gets_is_left_alone(kind: str) -> None:
    one, other = socketpair()
    sock = MODULES[kind](fileno=one.detach())
    transport = borrow_transport(sock, scoped=False)
    transport.begin()
    number = sock.fileno()
    sock.close()
    turns(1)
    third, fourth = occupy(number)
    fourth.send(b"not yours")
    for use in (lambda: receive(transport), lambda: transport.send(b"stray")):
        with pytest.raises(OSError) as raised:
            use()
        assert raised.value.errno == errno.EBADF
    transport.close()
    assert third.recv(100) == b"not yours"
    with pytest.raises(BlockingIOError):
        fourth.recv(100)
    for sock in (other, third, fourth):
        sock.close()


@pytest.mark.parametrize("end", ["close", "abandon"])
def test_descriptor_is_not_used_after_the_end(end: str) -> None:
    one, other = socketpair()
    transport = BorrowedTransport(one)
    transport.begin()
    number = one.fileno()
    getattr(transport, end)()
    one.close()
    third, fourth = occupy(number)
    for use in (lambda: receive(transport), lambda: transport.send(b"stray")):
        with pytest.raises(OSError) as raised:
            use()
        assert raised.value.errno == errno.EBADF
    with pytest.raises(BlockingIOError):
        fourth.recv(100)
    for sock in (other, third, fourth):
        sock.close()


def test_process_that_forked_leaves_the_socket_alone() -> None:
    one, other = socketpair()
    transport = BorrowedTransport(one)
    transport.begin()
    transport.abandon()
    one.send(b"x")
    assert other.recv(10) == b"x"
    one.close()
    other.close()


@pytest.mark.parametrize("end", ["close", "abandon"])
def test_duplicate_is_closed(end: str) -> None:
    one, other = socketpair()
    bare = get_original("socket", "socket")(fileno=os.dup(one.fileno()))
    transport = DuplicateTransport(bare)
    transport.begin()
    transport.send(b"x")
    getattr(transport, end)()
    assert transport.fileno() == -1
    assert other.recv(10) == b"x"
    other.setblocking(False)
    if end == "close":
        assert other.recv(10) == b""
    else:
        with pytest.raises(BlockingIOError):
            other.recv(10)
    one.close()
    other.close()


@pytest.mark.parametrize("end", ["close", "abandon"])
def test_watched_descriptor_is_closed_only_once(end: str) -> None:
    one, other = socketpair()
    transport = borrow_transport(one, scoped=False)
    transport.begin()
    number = transport.fileno()
    assert number != one.fileno()
    getattr(transport, end)()
    assert transport.fileno() == -1
    third, fourth = occupy(number)
    getattr(transport, end)()
    third.send(b"still open")
    assert fourth.recv(100) == b"still open"
    for sock in (one, other, third, fourth):
        sock.close()


@every_kind
def test_owner_that_was_faster_is_named_as_the_reason(kind: str) -> None:
    one, other = socketpair()
    sock = MODULES[kind](fileno=one.detach())
    transport = borrow_transport(sock, scoped=False)
    transport.begin()
    reset = ConnectionResetError(errno.ECONNRESET, "reset")
    assert transport.explain(reset) is reset
    sock.close()
    turns(1)
    with pytest.raises(OSError) as raised:
        receive(transport)
    explained = transport.explain(raised.value)
    assert (explained.errno, explained.strerror) == (errno.EBADF, RETURNED)
    assert explained.__cause__ is raised.value
    transport.close()
    other.close()


def test_who_closes_first() -> None:
    one, other = socketpair()
    for transport, scoped in (
        (borrow_transport(one), True),
        (borrow_transport(one, scoped=False), False),
        (DuplicateTransport(get_original("socket", "socket")(fileno=os.dup(one.fileno()))), False),
    ):
        assert transport.scoped is scoped
        transport.abandon()
    one.close()
    other.close()


# TLS.


class TLSPair:
    """A client, and a transport over the socket of a server that has done the handshake."""

    def __init__(self) -> None:
        one, other = gevent.socket.socketpair()
        for sock in (one, other):
            sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_SNDBUF, 32 * 1024)
        shaking = gevent.spawn(client_tls().wrap_socket, other, server_hostname="localhost")
        self.sock: Any = server_tls().wrap_socket(one, server_side=True)
        self.client: Any = shaking.get(timeout=10)
        self.client.settimeout(10)
        self.transport = borrow_transport(self.sock)
        assert type(self.transport) is BorrowedTLSTransport
        self.transport.begin()

    def receive(self) -> bytes | None:
        """Receive until something comes."""
        with gevent.Timeout(10):
            while (data := receive(self.transport)) is None:
                gevent.sleep(0.001)
            return data

    def close(self) -> None:
        self.client.close()
        self.sock.close()


@pytest.fixture
def tls() -> Iterator[TLSPair]:
    pair = TLSPair()
    yield pair
    pair.close()
    turns(1)


def test_tls_bytes(tls: TLSPair) -> None:
    # The owner may have left something in the TLS layer.
    assert tls.transport.again
    assert receive(tls.transport) is None
    assert not tls.transport.again
    tls.client.sendall(b"to")
    assert tls.receive() == b"to"
    assert tls.transport.send(b"fro") == 3
    assert tls.client.recv(10) == b"fro"


def test_tls_what_the_owner_read_is_found(tls: TLSPair) -> None:
    tls.client.sendall(b"x" * 10_000)
    assert len(tls.sock.recv(1)) == 1
    assert tls.sock.pending()
    assert tls.transport.again
    assert receive(tls.transport) == b"x" * 9_999


def test_tls_reads_as_many_records_as_there_are(tls: TLSPair) -> None:
    data = os.urandom(RECEIVE_BUFFER_SIZE)
    sending = gevent.spawn(tls.client.sendall, data + b"end")
    received: list[bytes] = []
    while sum(map(len, received)) < len(data) + 3:
        part = tls.receive()
        assert part
        received.append(part)
    assert b"".join(received) == data + b"end"
    assert max(map(len, received)) > TLS_RECORD
    sending.get()


def test_tls_writes_whole_or_say_how_much(tls: TLSPair) -> None:
    """What OpenSSL could not write is offered again, and extended, in any size."""
    data = os.urandom(500_000)
    sent, blocked = 0, 0
    reading = gevent.spawn(recv_exactly, tls.client, len(data))
    size = 100_000
    with gevent.Timeout(10):
        while sent < len(data):
            if count := tls.transport.send(data[sent : sent + size]):
                sent += count
                size = 100_000
            else:
                blocked += 1
                size += 1000
                gevent.sleep(0.001)
    assert blocked and tls.transport.write_event == WRITE
    assert reading.get() == data


def recv_exactly(sock: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(65536)
        if not part:
            break
        data += part
    return data


def test_tls_end(tls: TLSPair) -> None:
    """The end behind data is not lost, and stays the end."""
    tls.client.sendall(b"last")
    tls.client.shutdown(stdlib_socket.SHUT_WR)
    assert tls.receive() == b"last"
    assert tls.receive() == b""
    assert receive(tls.transport) == b""


def test_tls_end_by_close_notify(tls: TLSPair) -> None:
    """TCP goes on behind it, but TLS does not."""
    tls.client.sendall(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        # It would wait for ours.
        tls.client._sslobj.shutdown()
    assert tls.receive() == b"last"
    assert tls.receive() == b""
    assert receive(tls.transport) == b""


def test_tls_broken(tls: TLSPair) -> None:
    """What is no TLS breaks the connection; what came before is still read."""
    tls.client.sendall(b"last")
    tls.client._sock.send(b"HTTP/1.1 200 OK\r\n" + b"x" * 100)
    assert tls.receive() == b"last"
    for _ in range(2):
        with pytest.raises(ssl.SSLError):
            tls.receive()


def test_tls_close(tls: TLSPair) -> None:
    tls.transport.send(b"last")
    tls.transport.close()
    assert tls.client.recv(10) == b"last"
    # A close_notify: otherwise this would be an error.
    tls.client.suppress_ragged_eofs = False
    assert tls.client.recv(10) == b""
    assert tls.sock.fileno() != -1


def test_tls_end_of_our_half(tls: TLSPair) -> None:
    assert tls.transport.eof_text == "x closing TCP connection"
    tls.transport.send(b"last")
    tls.transport.send_eof()
    assert tls.client.recv(10) == b"last"
    tls.client.suppress_ragged_eofs = False
    assert tls.client.recv(10) == b""
    # What it still sends is received.
    tls.client.sendall(b"more")
    assert tls.receive() == b"more"


def test_tls_header_and_payload_are_one_record(tls: TLSPair) -> None:
    assert tls.transport.send_large(b"header", b"payload") == 13
    # Of several records it returns the first.
    assert tls.client.recv(100) == b"headerpayload"


def test_tls_owner_that_was_faster_is_named_as_the_reason(tls: TLSPair) -> None:
    tls.sock.close()
    turns(2)
    with pytest.raises(OSError) as raised:
        receive(tls.transport)
    explained = tls.transport.explain(raised.value)
    assert (explained.errno, explained.strerror) == (errno.EBADF, RETURNED)
    tls.transport.close()


def test_tls_descriptor_that_another_gets_is_left_alone(tls: TLSPair) -> None:
    """OpenSSL would read and write whatever has the number now."""
    number = tls.sock.fileno()
    tls.sock.close()
    turns(2)
    third, fourth = occupy(number)
    fourth.send(b"not yours")
    for use in (lambda: receive(tls.transport), lambda: tls.transport.send(b"stray")):
        with pytest.raises(OSError) as raised:
            use()
        assert raised.value.errno == errno.EBADF
    tls.transport.close()
    assert third.recv(100) == b"not yours"
    with pytest.raises(BlockingIOError):
        fourth.recv(100)
    third.close()
    fourth.close()


class ScriptedTLS:
    """OpenSSL, as it answers in a renegotiation or a key update, at a moment of our choice."""

    def __init__(self) -> None:
        self.reads: list[Any] = []
        self.writes: list[Any] = []
        self.offered: list[bytes] = []
        self.shutdowns = 0

    def read(self, size: int, view: memoryview) -> int:
        answer = self.reads.pop(0)
        if isinstance(answer, Exception):
            raise answer
        view[: len(answer)] = answer
        return len(answer)

    def write(self, view: memoryview) -> int:
        self.offered.append(bytes(view))
        answer = self.writes.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return len(view)

    def pending(self) -> int:
        return 0

    def shutdown(self) -> None:
        self.shutdowns += 1
        raise ssl.SSLWantReadError


@pytest.fixture
def scripted(tls: TLSPair) -> tuple[BorrowedTLSTransport, ScriptedTLS]:
    openssl = ScriptedTLS()
    assert isinstance(tls.transport, BorrowedTLSTransport)
    tls.transport._tls = openssl
    return tls.transport, openssl


def test_tls_read_that_must_write(scripted: tuple[BorrowedTLSTransport, ScriptedTLS]) -> None:
    transport, openssl = scripted
    openssl.reads = [ssl.SSLWantWriteError(), b"data"]
    assert receive(transport) is None
    assert transport.unsent
    transport.flush()
    # No event will tell of it: it is in the TLS layer already.
    assert (transport.unsent, transport.again) == (0, True)
    assert receive(transport) == b"data"
    assert not transport.again


def test_tls_read_that_must_write_behind_data(
    scripted: tuple[BorrowedTLSTransport, ScriptedTLS],
) -> None:
    transport, openssl = scripted
    full = b"x" * TLS_RECORD
    openssl.reads = [full, ssl.SSLWantWriteError(), ssl.SSLWantWriteError()]
    assert receive(transport) == full
    assert (transport.unsent, transport.again) == (0, True)
    assert receive(transport) is None
    assert transport.unsent


def test_tls_write_that_no_read_waits_for(
    scripted: tuple[BorrowedTLSTransport, ScriptedTLS],
) -> None:
    transport, openssl = scripted
    openssl.reads = [ssl.SSLWantReadError()]
    assert receive(transport) is None
    transport.flush()
    assert not transport.again


def test_tls_reads_no_more_than_there_is_room_for(
    scripted: tuple[BorrowedTLSTransport, ScriptedTLS],
) -> None:
    transport, openssl = scripted
    records = RECEIVE_BUFFER_SIZE // TLS_RECORD
    openssl.reads = [*[b"x" * TLS_RECORD] * records, b"rest"]
    assert receive(transport) == b"x" * RECEIVE_BUFFER_SIZE
    assert receive(transport) == b"rest"


def test_tls_one_close_notify(scripted: tuple[BorrowedTLSTransport, ScriptedTLS]) -> None:
    transport, openssl = scripted
    transport.send_eof()
    transport.close()
    assert openssl.shutdowns == 1


def test_tls_write_that_must_read(scripted: tuple[BorrowedTLSTransport, ScriptedTLS]) -> None:
    transport, openssl = scripted
    openssl.writes = [ssl.SSLWantReadError(), 1]
    assert transport.send(b"data") == 0
    assert transport.write_event == READ
    assert transport.send(b"data and more") == 13
    assert transport.write_event == WRITE
    assert openssl.offered == [b"data", b"data and more"]
