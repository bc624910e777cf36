"""The two system calls: what the kernel answers, in both builds; more in test_transport."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from geventws.net.syscalls import DirectTransport
from geventws.net.transport import own_socket
from tests.net.support import receive


@pytest.fixture
def ends() -> Iterator[tuple[DirectTransport, socket.socket]]:
    """A transport, and a socket at the other end of TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    transport = DirectTransport(own_socket(sock))
    with peer:
        yield transport, peer
    transport.close()


def reset(peer: socket.socket) -> None:
    """Close TCP in the rude way."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def test_nothing_to_do_is_no_error(ends: tuple[DirectTransport, socket.socket]) -> None:
    transport, _ = ends
    assert receive(transport) is None
    while transport.send(bytes(2**20)):
        pass
    assert transport.send(b"x") == 0


def test_errors_are_those_of_the_socket(ends: tuple[DirectTransport, socket.socket]) -> None:
    transport, peer = ends
    reset(peer)
    with pytest.raises(ConnectionResetError, match="reset by peer"):
        receive(transport)
    with pytest.raises(BrokenPipeError, match="Broken pipe"):
        transport.send(b"x")


@pytest.mark.parametrize("how", ["close", "abandon"])
def test_a_closed_descriptor_is_not_used_again(how: str) -> None:
    one, other = socket.socketpair()
    transport = DirectTransport(own_socket(one))
    getattr(transport, how)()
    # They get the number that is free now.
    stranger, peer = socket.socketpair()
    with other, stranger, peer:
        peer.send(b"not yours")
        with pytest.raises(OSError, match="Bad file descriptor"):
            receive(transport)
        with pytest.raises(OSError, match="Bad file descriptor"):
            transport.send(b"not mine")
        assert stranger.recv(100) == b"not yours"
        stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.setblocking(False)
            peer.recv(100)
