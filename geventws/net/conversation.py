"""Conversations with a proxy: reads and writes that wait, on a transport that never does."""

from __future__ import annotations

from gevent.socket import wait_read, wait_readwrite, wait_write

from geventws.net.hubs import HubState
from geventws.net.tls import TLSTransport
from geventws.net.transport import Transport

__all__ = ["Conversation"]


class Conversation:
    """Waits for what a transport sends and receives, before there is a connection.

    It has what python-socks wants of a stream.

    Args:
        transport: to the peer.
        state: the hub's.
    """

    def __init__(self, transport: Transport, state: HubState) -> None:
        self._transport = transport
        self._state = state
        # What was received and not read yet.
        self._leftover = b""

    def handshake(self) -> None:
        """Do the TLS handshake, if there is TLS.

        Raises:
            OSError: it failed.
        """
        if isinstance(self._transport, TLSTransport):
            while not self._transport.handshake(self._state):
                self._wait_readable()

    def write(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            OSError: the connection is lost.
        """
        view = memoryview(data)
        while view:
            view = view[self._transport.send(view) :]
            if view:
                wait_write(self._transport.fileno())
                self._transport.flush()

    def read(self, max_bytes: int | None = None) -> bytes:
        """Receive what comes next, all of it or so many bytes; ``b""`` at the end of the stream.

        Raises:
            OSError: the connection is lost.
        """
        if not self._leftover:
            while (size := self._transport.receive(self._state)) < 0:
                self._wait_readable()
            self._leftover = bytes(self._state.view[:size])
        data = self._leftover[:max_bytes]
        self._leftover = self._leftover[len(data) :]
        return data

    def read_exactly(self, n: int) -> bytes:
        """Receive so many bytes.

        Raises:
            EOFError: the stream ended before.
            OSError: the connection is lost.
        """
        data = b""
        while len(data) < n:
            part = self.read(n - len(data))
            if not part:
                raise EOFError(f"stream ends after {len(data)} bytes, expected {n} bytes")
            data += part
        return data

    @property
    def silent(self) -> bool:
        """Whether nothing arrived beyond what was read."""
        return not self._leftover

    def _wait_readable(self) -> None:
        """Wait until something can be read; meanwhile, let go what waits to be written."""
        if self._transport.unsent:
            wait_readwrite(self._transport.fileno())
            self._transport.flush()
        else:
            wait_read(self._transport.fileno())
