"""The opening handshake's part in a connection: bytes until the first frame."""

from __future__ import annotations

import sys
import time
from email.utils import formatdate
from typing import Any

import gevent

from geventws.core.escaping import escape
from geventws.core.headers import Headers
from geventws.core.http11 import Request, Response
from geventws.core.states import State
from geventws.net.connection import Connection
from geventws.net.tls import TLSTransport

__all__ = ["OpeningConnection", "http_date"]

_date: tuple[int, str] = (0, "")


def http_date() -> str:
    """Return the time for a ``Date`` header; formatted once a second, not once a handshake."""
    global _date
    now = int(time.time())
    if _date[0] != now:
        _date = (now, formatdate(now, usegmt=True))
    return _date[1]


class OpeningConnection(Connection):
    """A connection that can also do an opening handshake, in the greenlet that opens it."""

    __slots__ = ("_interruption", "_opener")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The greenlet that waits for the peer's part of the handshake.
        self._opener: Any = None
        # What ends that wait.
        self._interruption: Exception | None = None

    def _shake_tls(self) -> None:
        """Do the TLS handshake, if there is TLS.

        Raises:
            OSError: it failed.
        """
        if isinstance(self._transport, TLSTransport):
            while not self._transport.handshake(self._state):
                self._wait_readable()

    def _receive_opening(self) -> bytes:
        """Wait for bytes of the handshake.

        Raises:
            EOFError: the stream ended.
            OSError: the connection is lost.
        """
        while (size := self._transport.receive(self._state)) < 0:
            self._wait_readable()
        if not size:
            raise EOFError("connection closed in the opening handshake")
        return bytes(self._state.view[:size])

    def _wait_readable(self) -> None:
        """Wait until something can be read, or the wait is interrupted."""
        if self._transport.unsent:
            self._watch_writes()
        if self._interruption is None:
            self._opener = gevent.getcurrent()
            self._read_watcher.start(self._wake_opener)
            try:
                while self._opener is not None:
                    self._state.hub.switch()
            finally:
                self._opener = None
                self._read_watcher.stop()
        if self._interruption is not None:
            # Whose traceback will refer to us, and to this frame.
            interruption, self._interruption = self._interruption, None
            try:
                raise interruption
            finally:
                del interruption

    def _wake_opener(self) -> None:
        opener, self._opener = self._opener, None
        if opener is not None:
            try:
                opener.switch()
            except BaseException:
                # It ended by an exception, which must not end the hub.
                self._state.hub.handle_error(opener, *sys.exc_info())

    def _lost(self) -> None:
        """TCP is over, or given up, perhaps by another greenlet than the one that opens it."""
        super()._lost()
        if self._opener is not None:
            self._interrupt_opening(ConnectionAbortedError("closed in the opening handshake"))

    def _interrupt_opening(self, exc: Exception) -> None:
        """End the wait for the peer's part of the handshake with an exception."""
        self._interruption = exc
        self._state.loop.run_callback(self._wake_opener)

    def on_deadline(self) -> None:
        """React to the deadline; called in the keepalive greenlet."""
        if self._protocol.state is State.CONNECTING and not self._close_due:
            self._deadline = None
            self._interrupt_opening(TimeoutError("timed out in the opening handshake"))
        else:
            super().on_deadline()

    def _note_request(self, prefix: str, request: Request) -> None:
        """Write a request to the journal."""
        first_line = f"{request.method} {request.path} {request.protocol}"
        self._note_head(prefix, first_line, request.headers)

    def _note_response(self, prefix: str, response: Response) -> None:
        """Write a response to the journal."""
        first_line = f"HTTP/1.1 {response.status_code} {response.reason_phrase}"
        self._note_head(prefix, first_line, response.headers)
        if response.body:
            size = len(response.body)
            self._protocol.journal.debug_line("%s [body] (%d bytes)", prefix, size)

    def _note_head(self, prefix: str, first_line: str, headers: Headers) -> None:
        journal = self._protocol.journal
        if journal.debug:
            journal.debug_line("%s %s", prefix, escape(first_line))
            for name, value in headers.raw_items():
                journal.debug_line("%s %s: %s", prefix, name, escape(value))

    def _close_opening(self, linger: bool) -> None:
        """Close TCP without a WebSocket having been opened.

        Args:
            linger: whether to wait until the peer closes, at most ``close_timeout`` seconds,
                so that what was sent is not lost by a reset.
        """
        protocol = self._protocol
        if protocol.state is State.CLOSED:
            return
        protocol.decoder.discard()
        protocol.send_eof()
        self._settle()
        if linger and not self._broken:
            self._close_due = True
            self._set_deadline(self._close_timeout)
            self._watch_reads()
        else:
            self._lost()
        self._emit()
