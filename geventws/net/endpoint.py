"""One end of a connection, as it works in the hub: receiving, keepalive, closing, ending."""

from __future__ import annotations

import logging
import random
import socket
import sys
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event

from geventws.core.exceptions import ConcurrencyError, ConnectionClosed
from geventws.core.frames import CloseCode, Frame, Opcode
from geventws.core.protocol import FAILURES, SEND_EOF, Protocol
from geventws.core.states import State
from geventws.net.hubs import HubState, get_ident
from geventws.net.inbox import Inbox
from geventws.net.keepalive import Deadline
from geventws.net.logs import LoggerLike, emit
from geventws.net.pings import Ping, PingBook
from geventws.net.stream import Stream
from geventws.net.transport import Transport

__all__ = ["Endpoint"]


class Endpoint(Stream):
    """A protocol on a stream: what happens by itself, whatever the application does.

    Args:
        transport: what moves the bytes.
        protocol: what they mean.
        state: what connections of this hub share.
        inbox: where received messages wait.
        ping_interval: seconds between keepalive pings, or None.
        ping_timeout: seconds to wait for their pongs, or None.
        close_timeout: seconds that the closing handshake may take, or None.
        write_limit: above how many queued bytes `send` waits, and down to how many.
        logger: where lines go.
    """

    __slots__ = (
        "_close_due",
        "_close_timeout",
        "_closed",
        "_deadline",
        "_deferred",
        "_emitting",
        "_ended",
        "_inbox",
        "_keepalive_ping",
        "_logger",
        "_ping_interval",
        "_ping_timeout",
        "_pings",
        "_protocol",
        "_receiver",
        "_stalled",
        "_waking",
        "latency",
    )

    def __init__(
        self,
        transport: Transport,
        protocol: Protocol,
        state: HubState,
        inbox: Inbox,
        *,
        ping_interval: float | None,
        ping_timeout: float | None,
        close_timeout: float | None,
        write_limit: tuple[int, int],
        logger: LoggerLike,
    ) -> None:
        super().__init__(transport, state, write_limit)
        self._protocol = protocol
        self._inbox = inbox
        self._logger = logger
        # Whether a greenlet is emitting lines of the journal.
        self._emitting = False
        # The greenlet that waits for a message, and whether its wake is on its way.
        self._receiver: Any = None
        self._waking = False
        # Whether reading pauses because the inbox is full.
        self._stalled = False
        # A close frame, or a reason to fail, that waits until the receiver took the messages
        # before it.
        self._deferred: Frame | Exception | None = None
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._close_timeout = close_timeout
        # Whether the deadline is that of the closing handshake.
        self._close_due = False
        # The next moment at which something must have happened, and what it is for.
        self._deadline: Deadline | None = None
        self._pings: PingBook | None = None
        # The keepalive ping under way.
        self._keepalive_ping: Ping | None = None
        self.latency = 0.0
        # Whether all is over, log lines included; an event for those who wait for that.
        self._ended = False
        self._closed: Event | None = None

    # Receiving.

    def _start(self) -> None:
        """Begin to receive: the opening handshake is done."""
        if self._ping_interval is not None:
            # Connections opened at the same moment must not ping at the same moment.
            self._set_deadline(self._ping_interval * random.uniform(0.5, 1))
        else:
            self._set_deadline(None)
        if not self._protocol.decoder.empty:
            # Not now, but when the application waits for the first time: it must find these
            # messages before a close frame behind them is answered.
            self._state.loop.run_callback(self._in_hub, self._advance)
        self._watch_reads()

    def _watch_reads(self) -> None:
        if not self._stalled and self._protocol.state is not State.CLOSED:
            debug = self._protocol.journal.debug
            self._read_watcher.start(self._spawn_reader if debug else self._read)

    def _spawn_reader(self) -> None:
        """Read where the log may be written, as it will be: in a greenlet."""
        self._read_watcher.stop()
        gevent.spawn(self._read_in_greenlet)

    def _read_in_greenlet(self) -> None:
        try:
            if self._protocol.state is not State.CLOSED:
                self._read()
            self._emit()
        finally:
            self._watch_reads()

    def _read(self) -> None:
        """Read once. This is the hot path; it runs in the hub, or in a greenlet that logs."""
        inbox, protocol = self._inbox, self._protocol
        if inbox.size >= inbox.high and protocol.state is State.OPEN:
            # Looked at here and not after each message, so that a receiver that keeps up
            # never makes the watcher stop and start.
            self._stall()
            return
        try:
            data = self._transport.receive(self._state)
            if data:
                protocol.decoder.feed(data)
                self._advance()
            elif data is not None:
                self._receive_eof(None)
            elif self._transport.unsent:
                self._watch_writes()
        except OSError as exc:
            protocol.journal.debug_line("! error while receiving data", exc=exc)
            self._receive_eof(exc)
        except BaseException as exc:
            self._receive_bug(exc)

    def _receive_eof(self, exc: OSError | None) -> None:
        """The peer sends nothing more: nothing can be said to it either."""
        eof = self._protocol.receive_eof()
        cause = exc or eof
        if self._cause is None and cause is not None and self._deferred is None:
            self._cause = cause.with_traceback(None)
        self._handle_deferred()
        self._protocol.send_eof()
        self._settle()
        self._lost()

    def _receive_bug(self, exc: BaseException) -> None:
        """An error that is ours: the state of the protocol is not known any more."""
        if self._cause is None:
            self._cause = exc.with_traceback(None)
        self._protocol.journal.line(logging.ERROR, "unexpected internal error", exc=exc)
        self._protocol.fail(CloseCode.INTERNAL_ERROR)
        self._settle()
        gevent.spawn(self._emit)
        if not isinstance(exc, Exception):
            raise exc

    def _advance(self) -> None:
        """Decode what arrived, as far as there is room for it, and react."""
        protocol, inbox = self._protocol, self._inbox
        decoder = protocol.decoder
        try:
            while self._deferred is None:
                if inbox.size >= inbox.high and protocol.state is State.OPEN:
                    if not decoder.empty:
                        self._stall()
                    break
                event = protocol.next_event()
                if event is None:
                    break
                if type(event) is not Frame:
                    # While closing, who does not read cannot keep the closing handshake
                    # from being read.
                    if inbox.size < inbox.high:
                        inbox.put(event)  # type: ignore[arg-type]
                else:
                    self._receive_control(event)
                if decoder.empty:
                    break
        except FAILURES as exc:
            self._deferred = exc
        if self._receiver is not None and inbox.size:
            if not self._waking:
                self._waking = True
                self._state.loop.run_callback(self._wake)
        elif self._deferred is not None:
            self._handle_deferred()
        if protocol.pong is not None or protocol.output:
            self._settle()

    def _receive_control(self, frame: Frame) -> None:
        """React to a control frame; pings are answered by the protocol."""
        if frame.opcode is Opcode.PONG:
            self._receive_pong(frame.data)
        elif frame.opcode is Opcode.CLOSE:
            self._deferred = frame

    def _handle_deferred(self) -> None:
        """Answer the close frame, or fail the connection."""
        deferred, self._deferred = self._deferred, None
        if isinstance(deferred, Frame):
            self._protocol.receive_close(deferred)
        elif deferred is not None:
            if self._cause is None:
                self._cause = deferred.with_traceback(None)
            self._protocol.fail_with(deferred)

    def _stall(self) -> None:
        """Pause reading: the application does not keep up."""
        self._stalled = True
        self._read_watcher.stop()

    def _unstall(self) -> None:
        """Go on reading, in the hub, as soon as the application has room again."""
        if self._stalled:
            self._stalled = False
            self._state.loop.run_callback(self._in_hub, self._go_on)

    def _go_on(self) -> None:
        if self._protocol.state is not State.CLOSED:
            self._advance()
            self._watch_reads()

    def _settle(self) -> None:
        """Hand over what the protocol has to send, and see what must happen next."""
        protocol = self._protocol
        if protocol.pong is not None:
            pong, protocol.pong = protocol.pong, None
            self._write_pong(pong)
        for data in protocol.data_to_send():
            if data == SEND_EOF:
                protocol.journal.debug_line(self._transport.eof_text)
                self._write_eof()
            else:
                self._write(data)
        if protocol.state is State.CLOSING and not self._close_due:
            self._close_due = True
            self._set_deadline(self._close_timeout)
            self._unstall()
            self._wake_senders()

    # Waking the receiver.

    def _wake(self) -> None:
        """Resume the receiver, from the hub, if it still waits and there is a reason."""
        self._waking = False
        receiver = self._receiver
        if receiver is not None and (self._inbox.size or self._ended):
            self._receiver = None
            try:
                receiver.switch()
            except BaseException:
                # It ended by an exception, which must not end us.
                self._state.hub.handle_error(receiver, *sys.exc_info())
        # The receiver took its messages, ran dry or into another wait.
        if self._deferred is not None:
            self._in_hub(self._finish_deferred)

    def _finish_deferred(self) -> None:
        self._handle_deferred()
        self._settle()

    def _in_hub(self, function: Callable[[], None]) -> None:
        """Call a function from the hub, or, if it writes to the log, from a greenlet."""
        if self._protocol.journal.debug:
            gevent.spawn(self._call_and_emit, function)
        else:
            try:
                function()
            except BaseException as exc:
                self._receive_bug(exc)

    def _call_and_emit(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as exc:
            self._receive_bug(exc)
        finally:
            self._emit()

    # Keepalive.

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
        elif self._keepalive_ping is None or self._ping_timeout is None:
            self._send_keepalive_ping()
        else:
            self._miss_pong()
        self._emit()

    def _send_keepalive_ping(self) -> None:
        if self._pings is None:
            self._pings = PingBook()
        payload, ping = self._pings.new_payload(), Ping(ack_on_close=True)
        self._pings.add(payload, ping)
        self._keepalive_ping = ping
        self._protocol.send_ping(payload)
        self._settle()
        self._protocol.journal.debug_line("% sent keepalive ping")
        self._set_deadline(
            self._ping_interval if self._ping_timeout is None else self._ping_timeout
        )

    def _miss_pong(self) -> None:
        """No pong in time. See whether it lies unread before blaming the peer."""
        if not self._stalled:
            self._read()
        if self._protocol.state is not State.OPEN or self._keepalive_ping is None:
            return
        if self._stalled and self._let_kernel_watch():
            self._set_deadline(self._ping_timeout)
            return
        self._protocol.journal.debug_line("- timed out waiting for keepalive pong")
        self._protocol.fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
        self._settle()

    def _let_kernel_watch(self) -> bool:
        """Let the kernel tell whether the peer is alive, while we do not read its pongs.

        Returns whether it can: TCP on Linux; a Unix socket's peer cannot vanish unseen.
        """
        if self._transport.sock.family not in (socket.AF_INET, socket.AF_INET6):
            return True
        if not hasattr(socket, "TCP_USER_TIMEOUT"):
            return False
        milliseconds = int((self._ping_interval or 0) + (self._ping_timeout or 0)) * 1000
        self._transport.sock.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(milliseconds, 1000)
        )
        return True

    def _receive_pong(self, payload: bytes) -> None:
        answered = self._pings.receive_pong(payload) if self._pings is not None else []
        if not answered:
            return
        self.latency = answered[-1].latency or 0.0
        if not self._pings:
            self._pings = None
        if self._keepalive_ping in answered:
            self._keepalive_ping = None
            self._protocol.journal.debug_line("% received keepalive pong")
            if self._protocol.state is State.OPEN and self._ping_interval is not None:
                self._set_deadline(max(self._ping_interval - self.latency, 0))

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
        super()._write_failed(exc)

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
            if self._pings is not None:
                self._pings.close()
                self._pings = None
            self._keepalive_ping = None
            if self._closed is not None:
                self._closed.set()
            if self._receiver is not None and not self._waking:
                self._waking = True
                self._state.loop.run_callback(self._wake)

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

    def _closed_exception(self) -> ConnectionClosed:
        """Return the exception for whoever uses the connection after its end."""
        exc = self._protocol.closing.exception()
        exc.__cause__ = self._cause
        return exc

    def abandon(self) -> None:
        """Forget the connection, after a fork: it belongs to the parent process."""
        if self._protocol.state is not State.CLOSED:
            self._deadline = None
            self._protocol.journal.debug = False
            self._close_transport(abandon=True)
            self._protocol.end()
            self._ended = True

    # Guards.

    def _require_thread(self) -> None:
        """Refuse to work for a thread that runs another hub, or for a process after a fork."""
        here = get_ident()
        if here != self._state.thread:
            raise ConcurrencyError(
                f"this connection belongs to thread {self._state.thread} and was used in thread "
                f"{here}; use it only in the thread that opened it"
            )

    # Logging.

    def _emit(self) -> None:
        """Write the journal to the log; never in the hub, and never out of order."""
        lines = self._protocol.journal.lines
        if not lines or self._emitting:
            return
        self._emitting = True
        try:
            while lines:
                emit(self._logger, self, lines.pop(0))
        except Exception:
            self._state.hub.handle_error(self, *sys.exc_info())
        finally:
            self._emitting = False
