"""Receiving in the hub: from the socket to the inbox, whatever the application does."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent

from geventws.core.frames import CloseCode, Frame, Opcode
from geventws.core.protocol import FAILURES
from geventws.core.states import State
from geventws.net import heartbeat
from geventws.net.hubs import HubState
from geventws.net.inbox import Inbox

__all__ = ["Endpoint", "Waker"]

# Frames that a connection may decode in a turn of the loop: control frames and fragments do not
# fill the inbox, and 256 KiB of pings would keep the others waiting for 10 ms.
TURN_FRAMES = 500


class Waker:
    """Resumes the receivers of a hub, once in a turn of the loop for all that were read.

    A callback of the loop for each of them would cost 0.2 us more.

    Args:
        state: what connections of this hub share.
    """

    __slots__ = ("_endpoints", "_state")

    def __init__(self, state: HubState) -> None:
        self._state = state
        self._endpoints: list[Endpoint] = []

    def add(self, endpoint: Endpoint) -> None:
        """Resume an endpoint's receiver, if it still waits by then."""
        if not endpoint._waking:
            endpoint._waking = True
            if not self._endpoints:
                self._state.loop.run_callback(self._run)
            self._endpoints.append(endpoint)

    def _run(self) -> None:
        """Resume them, from the hub."""
        endpoints, self._endpoints = self._endpoints, []
        # Whoever is resumed may send a fair part, and receive for a while.
        self._state.spent = 0
        self._state.woken = monotonic()
        try:
            for endpoint in endpoints:
                endpoint._wake()
        except BaseException:
            # A signal's handler raised in between: nobody may be forgotten.
            self._endpoints += [endpoint for endpoint in endpoints if endpoint._waking]
            self._state.loop.run_callback(self._run)
            raise


class Endpoint(heartbeat.Heartbeat):
    """One end of a connection, as far as it works by itself.

    Args:
        inbox: where received messages wait.
        args, kwargs: for `Heartbeat` and `Link`.
    """

    __slots__ = ("_deferred", "_inbox", "_receiver", "_waker", "_waking")

    def __init__(self, *args: Any, inbox: Inbox, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._inbox = inbox
        # The greenlet that waits for a message, and whether its wake is on its way.
        self._receiver: Any = None
        self._waking = False
        # A close frame, or a reason to fail, that waits until the receiver took the messages
        # before it.
        self._deferred: Frame | Exception | None = None
        if self._state.waker is None:
            self._state.waker = Waker(self._state)
        self._waker: Waker = self._state.waker

    def _start(self) -> None:
        """Begin to receive: the opening handshake is done."""
        self._begin_heartbeat()
        if not self._protocol.decoder.empty:
            # Once the application waits: it must find messages before a close is answered.
            self._state.loop.run_callback(self._in_hub, self._go_on)
        self._watch_reads()

    def _watch_reads(self) -> None:
        if not self._stalled and self._protocol.state is not State.CLOSED:
            debug = self._protocol.journal.debug
            read = self._spawn_reader if debug else self._read
            if self._state.tells_errors:
                self._read_watcher.start(read, pass_events=True)
            else:
                self._read_watcher.start(read)

    def _spawn_reader(self, events: int = 0) -> None:
        """Read where the log may be written, as it will be: in a greenlet."""
        self._read_watcher.stop()
        gevent.spawn(self._read_in_greenlet)

    def _read_in_greenlet(self) -> None:
        try:
            self._read_unless_closed()
        finally:
            # Before the log is written: its handlers may wait for what the peer answers.
            self._watch_reads()
        self._emit()

    def _read(self, events: int = 0) -> None:
        """Read once. This is the hot path; it runs in the hub, or in a greenlet that logs.

        Args:
            events: why, as the loop tells it; negative for an error.
        """
        inbox, protocol, state = self._inbox, self._protocol, self._state
        if inbox.size >= inbox.high and protocol.state is State.OPEN:
            # Looked at here and not after each message, so that a receiver that keeps up
            # never makes the watcher stop and start.
            self._stall()
            return
        try:
            size = self._transport.receive(state)
            if size > 0:
                decoder = protocol.decoder
                decoder.lend(state.buffer, size)
                self._advance()
                if not decoder.empty:
                    decoder.keep()
                if self._transport.again:
                    self._read_again()
            elif size == 0:
                self._receive_eof(None)
            elif self._transport.unsent:
                self._watch_writes()
            if events < 0:
                # libuv tells of a reset before what was received is read, and only once.
                self._read_watcher.stop()
                self._watch_reads()
        except OSError as exc:
            protocol.journal.debug_line("! error while receiving data", exc=exc)
            self._receive_eof(self._transport.explain(exc))
        except BaseException as exc:
            self._receive_bug(exc)

    def _read_again(self) -> None:
        """Read what no event will tell of, after the receiver took what was read before."""
        self._state.turns.add(self._in_hub, self._read_unless_closed)

    def _read_unless_closed(self) -> None:
        if self._protocol.state is not State.CLOSED:
            self._read()

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
            # Raised again in the main greenlet: out of a callback it would stop the watcher.
            self._state.hub.handle_error(self, type(exc), exc, None)

    def _advance(self, receiving: bool = False) -> None:
        """Decode what arrived, as far as there is room for it, and react.

        Args:
            receiving: whether it is called by a receiver, which then takes what was decoded.
        """
        protocol, inbox = self._protocol, self._inbox
        decoder = protocol.decoder
        frames = 0
        try:
            while self._deferred is None:
                full = inbox.size >= inbox.high
                if full and protocol.state is State.OPEN:
                    if not decoder.empty:
                        self._stall()
                    break
                event = protocol.next_event()
                if event is None:
                    break
                if type(event) is not Frame:
                    # While closing, who does not read must not hold up the handshake.
                    if not full:
                        inbox.put(event)  # type: ignore[arg-type]
                    else:
                        # Nothing behind a gap either: it might be half a message.
                        inbox.high = 0
                else:
                    self._receive_control(event)
                if decoder.empty:
                    break
                frames += 1
                if frames == TURN_FRAMES:
                    self._stall()
                    self._state.turns.add(self._in_hub, self._go_on)
                    break
        except FAILURES as exc:
            self._deferred = exc
        if inbox.size and (self._receiver is not None or (receiving and self._deferred)):
            self._waker.add(self)
        elif self._deferred is not None:
            self._handle_deferred()
        if protocol.pongs or protocol.output:
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
        if self._protocol.state is State.CLOSED:
            return
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
        """Go on reading, now that the application has room again, but let others read, too."""
        if self._stalled:
            self._stalled = False
            self._state.turns.add(self._in_hub, self._go_on)

    def _go_on(self, receiving: bool = False) -> None:
        self._stalled = False
        if self._protocol.state is not State.CLOSED:
            try:
                self._advance(receiving)
                if self._transport.again:
                    self._read_again()
            finally:
                self._watch_reads()

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

    # Ending.

    def _begin_closing(self) -> None:
        self._unstall()
        super()._begin_closing()

    def abandon(self) -> None:
        """Forget the connection, and who waited for its messages in the parent process."""
        super().abandon()
        self._receiver = None

    def _wake_waiters(self) -> None:
        if self._receiver is not None:
            self._waker.add(self)
        super()._wake_waiters()
