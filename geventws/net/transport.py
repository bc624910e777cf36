"""Transport: bytes over a non-blocking socket; it never waits."""

from __future__ import annotations

import _socket
import contextlib
import socket
from typing import Any

from geventws.net.hubs import HubState

__all__ = [
    "Transport",
    "borrow_socket",
    "own_socket",
    "set_nodelay",
]


def own_socket(sock: Any) -> _socket.socket:
    """Take a socket over from any socket object, leaving that one closed.

    A bare socket costs 0.4 KiB less than gevent's, which has two watchers.
    """
    family, kind, proto = sock.family, sock.type, sock.proto
    bare = _socket.socket(family, kind, proto, fileno=sock.detach())
    bare.setblocking(False)
    return bare


def borrow_socket(sock: Any) -> _socket.socket:
    """Use a socket that a user has connected and may still hold.

    Raises:
        TypeError: it speaks TLS already.
    """
    # The standard library's and gevent's are different classes without a common base.
    if hasattr(sock, "do_handshake"):
        raise TypeError("sock must be a socket before TLS; give its TLS configuration as ssl")
    # The C object below gevent's socket: it knows when the descriptor is closed, and it
    # would fail, not read what another connection gets, if its number were used again.
    bare: _socket.socket = getattr(sock, "_sock", sock)
    bare.setblocking(False)
    return bare


class Transport:
    """What moves the bytes of a connection.

    It goes through the socket object, which knows when somebody else has closed it: the bare
    number of a descriptor may be another connection's by then.

    Args:
        sock: a connected, non-blocking socket.
    """

    __slots__ = ("again", "sock", "unsent")

    def __init__(self, sock: _socket.socket) -> None:
        self.sock = sock
        # Ciphertext that the kernel has not taken yet, in bytes.
        self.unsent = 0
        # Whether `receive` must be called again, though no event will tell.
        self.again = False

    @property
    def eof_text(self) -> str:
        """What the log says when `send_eof` is called."""
        return "x half-closing TCP connection"

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self.sock.fileno()

    def receive(self, state: HubState) -> int:
        """Read once, into the hub's buffer.

        Returns:
            How many bytes arrived, 0 at the end of the stream, -1 if nothing arrived.

        Raises:
            OSError: the connection is lost.
        """
        try:
            return self.sock.recv_into(state.buffer)
        except BlockingIOError:
            return -1

    def explain(self, exc: OSError) -> OSError:
        """Return the error that says best why the connection is lost, as `receive` found out."""
        return exc

    def send(self, data: bytes | memoryview) -> int:
        """Write as much as fits; return how many bytes that were, 0 if there is no room.

        Raises:
            OSError: the connection is lost.
        """
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0

    def send_large(self, header: bytes, payload: bytes) -> int:
        """Write a header and a payload, without copying them together; see `send`."""
        try:
            return self.sock.sendmsg((header, payload))
        except BlockingIOError:
            return 0

    def flush(self) -> None:
        """Write what is left of ciphertext, as far as it fits."""

    def send_eof(self) -> None:
        """Say that nothing more will be sent."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(_socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket; watchers on it must be stopped before."""
        self.sock.close()

    def abandon(self) -> None:
        """Close the socket's descriptor without a word to the peer, whom it does not concern."""
        self.sock.close()


def set_nodelay(sock: _socket.socket) -> None:
    """Send small frames at once: Nagle's algorithm would hold them back for 40 ms."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
