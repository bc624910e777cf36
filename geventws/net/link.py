"""A link: a protocol on a stream, its deadline, its log, and its end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import gevent
from gevent.event import Event
from greenlet import getcurrent

from geventws.core.exceptions import ConnectionClosed
from geventws.core.protocol import SEND_EOF, Protocol
from geventws.core.states import State
from geventws.net import stream
from geventws.net.hubs import HubState
from geventws.net.keepalive import Deadline
from geventws.net.logs import LoggerLike, emit
from geventws.net.transport import Transport

__all__ = ["Link"]


class Link(stream.Stream):
    """A protocol on a stream: hands over what it has to send, and ends with it.

    Args:
        transport: what moves the bytes.
        protocol: what they mean.
        state: what connections of this hub share.
        close_timeout: seconds that the closing handshake may take, or None.
        write_limit: above how many queued bytes `send` waits, and down to how many.
        logger: where lines go.
    """

    __slots__ = (
        "_close_due",
        "_close_timeout",
        "_closed",
        "_deadline",
        "_debug",
        "_emitting",
        "_ended",
        "_logger",
        "_protocol",
    )

    def __init__(
        self,
        transport: Transport,
        protocol: Protocol,
        state: HubState,
        *,
        close_timeout: float | None,
        write_limit: tuple[int, int],
        logger: LoggerLike,
    ) -> None:
        super().__init__(transport, state, write_limit)
        self._protocol = protocol
        self._logger = logger
        # Whether the journal keeps lines of level DEBUG.
        self._debug = protocol.journal.debug
        # Whether a greenlet is emitting lines of the journal.
        self._emitting = False
        self._close_timeout = close_timeout
        # The next moment at which something must have happened, and whether that is the end
        # of the connection.
        self._deadline: Deadline | None = None
        self._close_due = False
        # Whether all is over, log lines included; an event for those who wait for that.
        self._ended = False
        self._closed: Event | None = None

    def _settle(self) -> None:
        """Hand over what the protocol has to send, and see what must happen next."""
        protocol = self._protocol
        if protocol.pongs:
            pongs, protocol.pongs = protocol.pongs, None
            self._write_pongs(pongs)
        for data in protocol.data_to_send():
            if data == SEND_EOF:
                protocol.journal.debug_line(self._transport.eof_text)
                self._write_eof()
            else:
                self._write(data)
        if protocol.state is State.CLOSING and not self._close_due:
            self._close_due = True
            self._set_deadline(self._close_timeout)
            self._begin_closing()

    def _write_head(self, data: bytes) -> None:
        """Hand HTTP over: a head of the opening handshake, or a response."""
        self._write(data)

    def _write_pongs(self, pongs: list[bytes]) -> None:
        """Hand pongs over; if they must wait, only the newest, in place of one that waits."""
        if self._writing and self._queued:
            self._pong = pongs[-1]
        else:
            self._write(b"".join(pongs))

    def _begin_closing(self) -> None:
        """The closing handshake began: nobody may send any more."""
        self._wake_senders()

    def _set_deadline(self, delay: float | None) -> None:
        keepalive = self._state.keepalive
        if self._deadline is not None:
            keepalive.cancel(self._deadline)
        self._deadline = None if delay is None else keepalive.schedule(self, delay)

    def on_deadline(self) -> None:
        """React to the deadline; called in the keepalive greenlet."""
        self._deadline = None
        if self._close_due:
            self._protocol.journal.debug_line("- timed out while closing connection")
            if self._cause is None:
                self._cause = TimeoutError("timed out while closing connection")
            self._lost()
        self._emit_elsewhere()

    # Ending.

    def _fail(self, code: int, reason: str) -> None:
        """Fail the connection (RFC 6455, section 7.1.7)."""
        self._protocol.fail(code, reason)
        self._settle()
        self._emit()

    def _write_failed(self, exc: OSError) -> None:
        if not self._broken:
            self._protocol.journal.debug_line("! error while sending data", exc=exc)
            self._close_due = True
            self._set_deadline(self._close_timeout)
        stream.Stream._write_failed(self, exc)

    def _lost(self) -> None:
        """TCP is over, or given up: let go of everything, then tell whoever waits."""
        if self._protocol.state is State.CLOSED:
            return
        self._set_deadline(None)
        self._close_transport()
        self._protocol.end()
        self._wake_senders()
        gevent.spawn(self._finish)

    def _finish(self) -> None:
        """Log the end, then wake whoever waits for it, in this order."""
        try:
            self._emit()
            self._log_end()
        finally:
            self._ended = True
            if self._closed is not None:
                self._closed.set()
            self._wake_waiters()

    def _wake_waiters(self) -> None:
        """Wake whoever else waits; called at the very end."""

    def _log_end(self) -> None:
        """Log that the connection is closed, where that is logged."""

    def _wait_ended(self, timeout: float | None = None) -> bool:
        """Wait until all is over; return whether it is."""
        if self._ended:
            return True
        if self._closed is None:
            self._closed = Event()
        self._closed.wait(timeout)
        return self._ended

    def _on_end(self, callback: Callable[[object], object]) -> None:
        """Let the hub call a function once all is over."""
        if self._closed is None:
            self._closed = Event()
            if self._ended:
                self._closed.set()
        self._closed.rawlink(callback)

    def _closed_exception(self) -> ConnectionClosed:
        """Return the exception for whoever uses the connection after its end."""
        exc = self._protocol.closing.exception()
        exc.__cause__ = self._cause
        return exc

    def abandon(self) -> None:
        """Forget the connection, after a fork: it belongs to the parent process."""
        if self._protocol.state is not State.CLOSED:
            self._deadline = None
            self._debug = self._protocol.journal.debug = False
            self._close_transport(abandon=True)
            self._protocol.end()
            self._cause = RuntimeError(
                f"this connection belongs to process {os.getppid()}, which forked process "
                f"{os.getpid()}; open a connection of its own there"
            )
            self._ended = True

    def _require_thread(self) -> None:
        """Refuse to work for a thread that runs another hub, or for a process after a fork."""
        self._state.require_thread(
            "connection", "there, only send_threadsafe() and broadcast() may be used"
        )

    # Logging.

    def _emit_elsewhere(self) -> None:
        """Write the journal to the log in a greenlet of its own.

        For greenlets that serve all connections: a log handler may block.
        """
        if self._protocol.journal.waiting:
            gevent.spawn(self._emit)

    def _emit(self) -> None:
        """Write the journal to the log; never in the hub, and never out of order."""
        journal = self._protocol.journal
        if not journal.waiting or self._emitting:
            return
        self._emitting = True
        self._state.emitters.append(getcurrent())
        try:
            while journal.waiting:
                emit(self._logger, self, journal.take())
        except Exception:
            self._state.hub.handle_error(self, *sys.exc_info())
        finally:
            self._emitting = False
            self._state.emitted()
