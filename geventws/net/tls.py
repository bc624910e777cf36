"""TLS over a transport, by memory buffers; it never waits."""

from __future__ import annotations

import contextlib
import ssl
import weakref
from typing import Any

from geventws.net.hubs import HubState
from geventws.net.transport import Transport

__all__ = ["TLSTransport"]

# How much is encrypted at once: ciphertext that the kernel does not take is held in memory
# beside the plaintext it was made of.
TLS_CHUNK = 64 * 1024


class TLSTransport(Transport):
    """TLS over a transport, by memory buffers.

    They take every `ssl.SSLContext`, gevent's or the standard library's, patched or not, and
    a frame given to `send` is encrypted whole or not at all. What lies below may
    be TLS as well: a tunnel through a proxy that speaks it.

    Args:
        below: what moves the ciphertext; nobody else uses it.
        context: the TLS configuration.
        server_side: which end this is.
        server_hostname: for a client, whom the server's certificate must name.
    """

    __slots__ = (
        "_below",
        "_ciphertext",
        "_ended",
        "_eof_sent",
        "_error",
        "_incoming",
        "_outgoing",
        "tls",
    )

    def __init__(
        self,
        below: Transport,
        context: ssl.SSLContext,
        server_side: bool,
        server_hostname: str | None = None,
    ) -> None:
        super().__init__(below.sock)
        self._below = below
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side, server_hostname)
        # What an `sni_callback` gets: gevent's contexts look for it here, where their own
        # sockets have it.
        self.tls._sslsock = weakref.ref(self.tls)  # type: ignore[attr-defined]
        # Ciphertext that the kernel did not take; goes first, unchanged.
        self._ciphertext: bytes | memoryview = b""
        self._eof_sent = False
        # The peer ended the stream, or broke it with an error, behind all that was decrypted.
        self._ended = False
        self._error: OSError | None = None

    @property
    def eof_text(self) -> str:
        """What the log says when `send_eof` is called."""
        return "x closing TCP connection"

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
            size = self._fill(state)
            if size < 0:
                return False
            if not size:
                raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "connection closed in TLS handshake")

    def _fill(self, state: HubState) -> int:
        """Read ciphertext once; return as `Transport.receive` does."""
        size = self._below.receive(state)
        if size == 0:
            self._ended = True
        elif size > 0 and not self._eof_sent:
            # After our close_notify, what still arrives is of no interest.
            self._incoming.write(state.view[:size])
        return size

    def receive(self, state: HubState) -> int:
        """Read once, and decrypt into the hub's buffer; see `Transport.receive`."""
        size = 0 if self._ended else self._decrypt(state)
        while not size and not self._ended:
            if self._fill(state) < 0:
                return -1
            size = self._decrypt(state)
            if not self._below.again:
                break
        if not size and self._error is not None:
            raise self._error
        # The end comes after what was decrypted, and what found no room in the buffer, too.
        more = self._ended or size == len(state.buffer) or self._below.again
        self.again = size > 0 and more
        return size if size or self._ended else -1

    def _decrypt(self, state: HubState) -> int:
        """Decrypt all that arrived, as far as there is room; note the end, which follows.

        Returns how many bytes that were.
        """
        size = 0
        try:
            while (self._incoming.pending or self.tls.pending()) and size < len(state.buffer):
                # With a buffer, it returns a number: typeshed does not know.
                read: Any = self.tls.read(len(state.buffer) - size, state.view[size:])
                if not read:
                    self._ended = True
                    break
                size += read
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._ended = True
        except ssl.SSLError as exc:
            self._ended = True
            self._error = exc
        # A key update must be answered, an alert be sent. If it cannot be, what was decrypted
        # is as good, and the next write will tell.
        with contextlib.suppress(OSError):
            self.flush()
        return size

    def send(self, data: bytes | memoryview) -> int:
        """Encrypt and write; what is encrypted counts as written, and `unsent` tells the rest."""
        total = 0
        view = memoryview(data)
        self.flush()
        while total < len(view) and not self.unsent:
            total += self.tls.write(view[total : total + TLS_CHUNK])
            self.flush()
        return total

    def send_large(self, header: bytes, payload: bytes) -> int:
        """Encrypt and write; see `send`. A header of its own would be a record of its own."""
        return self.send(header + payload)

    def flush(self) -> None:
        """Write ciphertext as far as it fits."""
        below = self._below
        if below.unsent:
            below.flush()
        if self._outgoing.pending:
            fresh = self._outgoing.read()
            self._ciphertext = b"".join((self._ciphertext, fresh)) if self._ciphertext else fresh
        if self._ciphertext and not below.unsent:
            sent = below.send(self._ciphertext)
            self._ciphertext = memoryview(self._ciphertext)[sent:]
        self.unsent = len(self._ciphertext) + below.unsent

    def send_eof(self) -> None:
        """Send a close_notify, if there is room for it, and end our half of the stream."""
        if not self._eof_sent:
            self._eof_sent = True
            # It asks for the peer's close_notify, which TCP's end stands for as well.
            with contextlib.suppress(OSError):
                self.tls.unwrap()
            with contextlib.suppress(OSError):
                self.flush()
            self._below.send_eof()

    def close(self) -> None:
        """Send a close_notify, if there is room for it, and close what lies below."""
        self.send_eof()
        self._below.close()

    def abandon(self) -> None:
        """Close the descriptor; see `Transport.abandon`."""
        self._below.abandon()
