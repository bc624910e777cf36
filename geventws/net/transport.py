"""Transports: bytes over a non-blocking socket, plain or TLS, that never wait."""

from __future__ import annotations

import _socket
import contextlib
import socket
import ssl
import weakref
from collections.abc import Callable
from typing import Any

from geventws.net.hubs import HubState

__all__ = [
    "PlainTransport",
    "TLSTransport",
    "Transport",
    "borrow_socket",
    "own_socket",
    "set_nodelay",
]

# How much is encrypted at once: ciphertext that the kernel does not take is held in memory
# beside the plaintext it was made of.
TLS_CHUNK = 64 * 1024


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

    Args:
        sock: a connected, non-blocking socket that nobody else uses.
    """

    __slots__ = ("sock",)

    # What the log says when `send_eof` is called.
    eof_text: str
    # Writes as much as fits and returns how much that was. Raises BlockingIOError if that is
    # nothing, another OSError if the connection is lost.
    send: Callable[[bytes | memoryview], int]
    # Ciphertext that the kernel has not taken yet, in bytes.
    unsent = 0
    # Whether the end was found behind what `receive` returned: it must be called again.
    ended = False

    def __init__(self, sock: _socket.socket) -> None:
        self.sock = sock

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self.sock.fileno()

    def receive(self, state: HubState) -> bytes | None:
        """Read once.

        Returns:
            What arrived, ``b""`` at the end of the stream, None if nothing arrived.

        Raises:
            OSError: the connection is lost.
        """
        try:
            size = self.sock.recv_into(state.buffer)
        except BlockingIOError:
            return None
        return bytes(state.view[:size])

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


class PlainTransport(Transport):
    """TCP, or a Unix socket, without TLS."""

    __slots__ = ("send",)

    eof_text = "x half-closing TCP connection"

    def __init__(self, sock: _socket.socket) -> None:
        super().__init__(sock)
        # The socket's own method: one call less for each message.
        self.send = sock.send


class TLSTransport(Transport):
    """TLS over a socket, by memory buffers.

    They take every `ssl.SSLContext`, gevent's or the standard library's, patched or not, and
    a frame given to `send` is encrypted whole or not at all.

    Args:
        sock: a connected, non-blocking socket that nobody else uses.
        context: the TLS configuration.
        server_side: which end this is.
        server_hostname: for a client, whom the server's certificate must name.
    """

    __slots__ = ("_ciphertext", "_eof_sent", "_error", "_incoming", "_outgoing", "ended", "tls")

    eof_text = "x closing TCP connection"

    def __init__(
        self,
        sock: _socket.socket,
        context: ssl.SSLContext,
        server_side: bool,
        server_hostname: str | None = None,
    ) -> None:
        super().__init__(sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side, server_hostname)
        # What an `sni_callback` gets: gevent's contexts look for it here, where their own
        # sockets have it.
        self.tls._sslsock = weakref.ref(self.tls)  # type: ignore[attr-defined]
        # Ciphertext that the kernel did not take; goes first, unchanged.
        self._ciphertext: bytes | memoryview = b""
        self._eof_sent = False
        # The peer ended the stream, or broke it with an error, behind all that was decrypted.
        self.ended = False
        self._error: OSError | None = None

    @property
    def unsent(self) -> int:  # type: ignore[override]
        """Ciphertext that the kernel has not taken yet, in bytes."""
        return len(self._ciphertext)

    def handshake(self, state: HubState) -> bool:
        """Do as much of the TLS handshake as can be done now; return whether it is over.

        Raises:
            OSError: it failed; `ssl.SSLError` is one.
        """
        while True:
            try:
                self.tls.do_handshake()
                return True
            except ssl.SSLWantReadError:
                pass
            finally:
                # Also after a failure: the alert tells the peer what is wrong.
                self.flush()
            arrived = self._fill(state)
            if arrived is None:
                return False
            if not arrived:
                raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "connection closed in TLS handshake")

    def _fill(self, state: HubState) -> int | None:
        """Read ciphertext; return its size, 0 at the end, None if nothing arrived."""
        try:
            size = self.sock.recv_into(state.buffer)
        except BlockingIOError:
            return None
        if size == 0:
            self.ended = True
        elif not self._eof_sent:
            # After our close_notify, what still arrives is of no interest.
            self._incoming.write(state.view[:size])
        return size

    def receive(self, state: HubState) -> bytes | None:
        """Read once, and decrypt all there is, so that nothing waits in the TLS layer."""
        if self.ended:
            if self._error is not None:
                raise self._error
            return b""
        parts: list[bytes] = []
        self._decrypt(parts)
        if not parts and not self.ended:
            if self._fill(state) is None:
                return None
            self._decrypt(parts)
        if parts:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        return self.receive(state) if self.ended else None

    def _decrypt(self, parts: list[bytes]) -> None:
        """Decrypt all that arrived; note the end, which comes after that."""
        try:
            while self._incoming.pending or self.tls.pending():
                data = self.tls.read(TLS_CHUNK)
                if not data:
                    self.ended = True
                    break
                parts.append(data)
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self.ended = True
        except ssl.SSLError as exc:
            self.ended = True
            self._error = exc
        # A key update must be answered, an alert be sent. If it cannot be, what was decrypted
        # is as good, and the next write will tell.
        with contextlib.suppress(OSError):
            self.flush()

    def send(self, data: bytes | memoryview) -> int:
        """Encrypt and write; what is encrypted counts as written, and `unsent` tells the rest."""
        total = 0
        view = memoryview(data)
        self.flush()
        while total < len(view) and not self._ciphertext:
            total += self.tls.write(view[total : total + TLS_CHUNK])
            self.flush()
        return total

    def flush(self) -> None:
        """Write ciphertext as far as it fits."""
        if self._outgoing.pending:
            fresh = self._outgoing.read()
            self._ciphertext = b"".join((self._ciphertext, fresh)) if self._ciphertext else fresh
        if self._ciphertext:
            with contextlib.suppress(BlockingIOError):
                sent = self.sock.send(self._ciphertext)
                self._ciphertext = memoryview(self._ciphertext)[sent:]

    def send_eof(self) -> None:
        """Send a close_notify, if there is room for it, and end our half of the stream."""
        if not self._eof_sent:
            self._eof_sent = True
            # It asks for the peer's close_notify, which TCP's end stands for as well.
            with contextlib.suppress(OSError):
                self.tls.unwrap()
            with contextlib.suppress(OSError):
                self.flush()
            super().send_eof()

    def close(self) -> None:
        """Send a close_notify, if there is room for it, and close the socket."""
        self.send_eof()
        super().close()


def set_nodelay(sock: _socket.socket) -> None:
    """Send small frames at once: Nagle's algorithm would hold them back for 40 ms."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
