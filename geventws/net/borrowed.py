"""Transports over sockets that another owns and will close, such as a WSGI server."""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import ssl
from typing import Any

from gevent.monkey import get_original

from geventws.net.hubs import HubState
from geventws.net.stream import READ, WRITE
from geventws.net.syscalls import DirectTransport
from geventws.net.tls import TLS_CHUNK

__all__ = [
    "RETURNED",
    "BorrowedTLSTransport",
    "BorrowedTransport",
    "DuplicateTransport",
    "borrow_transport",
]

# What one read takes from OpenSSL: the most that a record can hold (RFC 8446, section 5.1).
TLS_RECORD = 16 * 1024


# Under monkey patching, `os.close` waits for the loop's next turn, which may be far away.
close_descriptor = get_original("os", "close")

# Why the socket is closed under a connection.
RETURNED = (
    "the WSGI application returned before its WebSocket was closed; return only when nobody uses "
    "it any more"
)


def borrow_transport(sock: Any, scoped: bool = True) -> BorrowedTransport:
    """Make a transport over a connected socket of any kind, which somebody else closes.

    Args:
        sock: gevent's, or the standard library's; or one that has done its TLS handshake.
        scoped: whether it is certain that `close` comes before its owner closes the socket.
    """
    kind = BorrowedTLSTransport if hasattr(sock, "do_handshake") else BorrowedTransport
    return kind(sock, scoped)


class BorrowedTransport(DirectTransport):
    """A socket whose descriptor we may only use as long as its owner has it open.

    Where the owner may be faster than we are, all reads and writes go through the socket
    object, which knows when it was closed: the bare number may by then belong to another
    connection. A watcher has nothing but the number, and libev aborts the process if it must
    begin to watch one that is closed: so a duplicate is watched, which nobody else closes.
    """

    __slots__ = ("_timeout", "_watched")

    # What the loop must tell of before it makes sense to write again.
    write_event = WRITE

    def __init__(self, sock: Any, scoped: bool = True) -> None:
        # The C object below gevent's socket: it is closed together with it, and never waits.
        super().__init__(getattr(sock, "_sock", sock))
        # The duplicate's number.
        self._watched: int | None = None
        if not scoped:
            self.forget_descriptor()
            self._watched = os.dup(self.sock.fileno())
        # How long the owner waits in its own reads and writes.
        self._timeout: float | None = None

    @property
    def scoped(self) -> bool:
        """Whether it is certain that `close` comes before the owner closes the socket."""
        return self._watched is None

    def fileno(self) -> int:
        """Return the descriptor to watch, -1 once closed."""
        return self.sock.fileno() if self._watched is None else self._watched

    def begin(self) -> None:
        """Take over from the owner, who does not read or write from now on."""
        self._timeout = self.sock.gettimeout()
        self.sock.setblocking(False)

    def explain(self, exc: OSError) -> OSError:
        """Say that the owner has closed the socket, if that is why the connection is lost."""
        if self.sock.fileno() != -1:
            return exc
        returned = OSError(errno.EBADF, RETURNED)
        returned.__cause__ = exc
        return returned

    def send_eof(self) -> None:
        """Say that nothing more will be sent."""
        self._shut_down(_socket.SHUT_WR)

    def close(self) -> None:
        """End TCP, so that the owner finds nothing more to read, and give the socket back."""
        self._shut_down(_socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self.sock.settimeout(self._timeout)
        self.abandon()

    def abandon(self) -> None:
        """Leave the socket alone: it is its owner's."""
        self.forget_descriptor()
        if self._watched is not None:
            number, self._watched = self._watched, -1
            if number != -1:
                close_descriptor(number)

    def _shut_down(self, how: int) -> None:
        # The one of the C class: `SSLSocket.shutdown` also forgets its TLS.
        with contextlib.suppress(OSError):
            _socket.socket.shutdown(self.sock, how)


class DuplicateTransport(BorrowedTransport):
    """A socket of our own on a duplicate of the owner's descriptor."""

    __slots__ = ()

    # The owner's end of it tells nothing here.
    scoped = False

    def abandon(self) -> None:
        """Close the duplicate; TCP goes on, unless `close` has ended it."""
        super().abandon()
        self.sock.close()


class BorrowedTLSTransport(BorrowedTransport):
    """A TLS socket whose handshake its owner has done, by its own TLS object.

    OpenSSL reads and writes the bare descriptor, so before each use the socket object is
    asked whether it still has it.
    """

    __slots__ = ("_end", "_eof_sent", "_fileno", "_tls", "write_event")

    def __init__(self, sock: Any, scoped: bool = True) -> None:
        super().__init__(sock, scoped)
        self._tls = sock._sslobj
        self._fileno = self.sock.fileno()
        # Whether the peer ended the stream, or the error with which it broke.
        self._end: bool | OSError = False
        self._eof_sent = False
        # Its owner may have left a part of a record in the TLS layer. And `unsent` is 1 while a
        # read cannot go on because it has something to write (a key update).
        self.again = True
        # A write, too, may have to wait for what the peer says.
        self.write_event = WRITE

    @property
    def eof_text(self) -> str:
        """What the log says when `send_eof` is called."""
        return "x closing TCP connection"

    def _check(self) -> None:
        if self.sock.fileno() != self._fileno:
            raise OSError(errno.EBADF, RETURNED)

    def explain(self, exc: OSError) -> OSError:
        """Return the error as it is: it is checked before each read."""
        return exc

    def receive(self, state: HubState) -> int:
        """Read all records that are there, as far as the hub's buffer has room."""
        self._check()
        self.again = False
        size = 0 if self._end else self._decrypt(state.view)
        if size:
            # The end, or a write that a read needs, comes up again at the next call.
            self.again = bool(self._end or self.unsent)
            self.unsent = 0
            return size
        if self._end and self._end is not True:
            raise self._end
        return 0 if self._end else -1

    def _decrypt(self, view: memoryview) -> int:
        """Read records into a buffer; return how much that was."""
        size = 0
        try:
            while size + TLS_RECORD <= len(view):
                count = self._tls.read(TLS_RECORD, view[size : size + TLS_RECORD])
                size += count
                if not count:
                    self._end = True
                    break
                # Behind a record that is not full there is rarely another.
                if count < TLS_RECORD and not self._tls.pending():
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLWantWriteError:
            self.unsent = 1
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._end = True
        except OSError as exc:
            self._end = exc
        return size

    def flush(self) -> None:
        """The socket is writable: the read that waited for that must be tried again."""
        if self.unsent:
            self.unsent = 0
            self.again = True

    def send(self, data: bytes | memoryview) -> int:
        """Encrypt and write; see `Transport.send`.

        OpenSSL wants the bytes that it could not write offered again, and nothing before
        them: the queue of `Stream` only ever adds behind them.
        """
        self._check()
        self.write_event = WRITE
        total, view = 0, memoryview(data)
        try:
            while total < len(view):
                total += self._tls.write(view[total : total + TLS_CHUNK])
        except ssl.SSLWantWriteError:
            pass
        except ssl.SSLWantReadError:
            self.write_event = READ
        return total

    def send_large(self, header: bytes, payload: bytes) -> int:
        """Encrypt and write; see `send`. A header of its own would be a record of its own."""
        return self.send(header + payload)

    def send_eof(self) -> None:
        """Send a close_notify, if there is room for it, and end our half of the stream."""
        if not self._eof_sent:
            self._eof_sent = True
            with contextlib.suppress(OSError):
                self._check()
                # It asks for the peer's close_notify, which TCP's end stands for as well.
                self._tls.shutdown()
            super().send_eof()

    def close(self) -> None:
        """Send a close_notify, if there is room for it, and end TCP."""
        self.send_eof()
        super().close()
