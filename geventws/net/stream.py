"""A stream of bytes with a queue for what the peer does not take yet; writing never waits."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from geventws.net.hubs import HubState
from geventws.net.waiting import WaitingLine

if TYPE_CHECKING:
    from geventws.net.transport import Transport

__all__ = ["Stream"]

READ, WRITE = 1, 2

# Frames are joined into one write up to this many bytes...
JOIN_SIZE = 64 * 1024
# ...and as long as the last write is not older than this, in seconds.
JOIN_TIME = 0.001


class Stream:
    """Bytes over a transport: one watcher for reads, one for writes while a queue waits.

    Args:
        transport: what moves the bytes.
        state: what connections of this hub share.
        write_limit: above how many queued bytes `send` waits, and down to how many.
    """

    __slots__ = (
        "_batches",
        "_broken",
        "_cause",
        "_eof_queued",
        "_flushing",
        "_high",
        "_last_write",
        "_low",
        "_pong",
        "_queue",
        "_queued",
        "_read_watcher",
        "_senders",
        "_state",
        "_transport",
        "_write_watcher",
        "_writing",
    )

    def __init__(self, transport: Transport, state: HubState, write_limit: tuple[int, int]) -> None:
        self._transport = transport
        self._state = state
        # One watcher for the connection's whole life. It keeps the connection alive.
        self._read_watcher: Any = state.loop.io(transport.fileno(), READ)
        self._write_watcher: Any = None
        # Whether the write watcher is started.
        self._writing = False
        # Whole frames that wait, except that the first may be the rest of one; their bytes.
        self._queue: deque[bytes | memoryview] | None = None
        self._queued = 0
        # 5.5.3: a pong that waits is replaced by a newer one, so that a peer that floods us
        # with pings and reads nothing cannot fill the queue.
        self._pong: bytes | None = None
        # Whether the stream ends after the queue.
        self._eof_queued = False
        # Whether writing failed: the peer is gone, but what it sent may still be read.
        self._broken = False
        # Why the connection is lost.
        self._cause: BaseException | None = None
        # Bytes in the queue above which senders wait, and down to which.
        self._high, self._low = write_limit
        # Greenlets that wait to send.
        self._senders: WaitingLine | None = None
        # Joining writes: depth of `batch` blocks, time of the last write, whether a flush is
        # due in this turn of the loop.
        self._batches = 0
        self._last_write = 0.0
        self._flushing = False

    # Writing.

    def _write(self, data: bytes) -> None:
        """Hand a frame over: to the kernel if it has room, else to the queue."""
        transport = self._transport
        if self._queued or transport.unsent:
            self._enqueue(data)
            if not self._writing:
                self._flush()
            return
        try:
            sent = transport.send(data)
        except OSError as exc:
            self._write_failed(exc)
            return
        if sent < len(data):
            self._enqueue(memoryview(data)[sent:])
            self._watch_writes()
        elif transport.unsent:
            self._watch_writes()

    def _write_large(self, header: bytes, payload: bytes) -> None:
        """Hand a frame over, as `_write`, whose parts should not be copied together."""
        if self._queued:
            self._flush()
        if self._queued or self._transport.unsent:
            self._write(header + payload)
            return
        try:
            sent = self._transport.send_large(header, payload)
        except OSError as exc:
            self._write_failed(exc)
            return
        if sent < len(header):
            self._enqueue(memoryview(header + payload)[sent:])
        elif sent < len(header) + len(payload):
            self._enqueue(memoryview(payload)[sent - len(header) :])
        if self._queued or self._transport.unsent:
            self._watch_writes()

    def _write_joined(self, data: bytes) -> None:
        """Hand a frame over, together with others that follow at once.

        The first answer of a burst leaves immediately, and a slow handler's answers do, too.
        Answers to 16 messages in flight cost a third of what they cost one by one.
        """
        now = monotonic()
        if now - self._last_write > JOIN_TIME and not self._batches:
            self._last_write = now
            self._write(data)
            return
        self._enqueue(data)
        if self._queued >= min(JOIN_SIZE, self._high) and not self._writing:
            self._last_write = now
            self._flush()
        elif not self._flushing and not self._batches:
            self._flushing = True
            self._state.loop.run_callback(self._flush_turn)

    def _flush_turn(self) -> None:
        """Flush what was joined, at the next turn of the loop."""
        self._flushing = False
        if self._queued and not self._writing and not self._batches:
            self._flush_in_hub()

    def _enqueue(self, data: bytes | memoryview) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append(data)
        self._queued += len(data)

    def _write_eof(self) -> None:
        """End our half of the stream behind what is queued."""
        self._eof_queued = True
        if not self._writing:
            self._flush()

    def _flush(self) -> None:
        """Write what is queued, as far as the kernel takes it."""
        transport = self._transport
        try:
            transport.flush()
            while self._next_chunk() and not transport.unsent:
                assert self._queue
                chunk = self._queue[0]
                sent = transport.send(chunk)
                self._queued -= sent
                if sent < len(chunk):
                    self._queue[0] = memoryview(chunk)[sent:]
                    break
                self._queue.popleft()
                if self._pong is not None:
                    self._queue.appendleft(self._pong)
                    self._queued += len(self._pong)
                    self._pong = None
        except OSError as exc:
            self._write_failed(exc)
            return
        if self._queued or transport.unsent:
            self._watch_writes()
        else:
            self._drained()

    def _next_chunk(self) -> bool:
        """Join small frames at the head of the queue; return whether there is any."""
        queue = self._queue
        if not queue:
            return False
        if len(queue[0]) < JOIN_SIZE and (len(queue) > 1 or self._pong is not None):
            parts = [queue.popleft()]
            if self._pong is not None:
                # Behind the frame under way: the queue may not run empty for a long time.
                parts.append(self._pong)
                self._queued += len(self._pong)
                self._pong = None
            size = sum(map(len, parts))
            while queue and size < JOIN_SIZE and len(queue[0]) < JOIN_SIZE:
                part = queue.popleft()
                parts.append(part)
                size += len(part)
            queue.appendleft(b"".join(parts))
        return True

    def _drained(self) -> None:
        """Nothing is queued any more."""
        self._queue = None
        if self._writing:
            self._writing = False
            self._write_watcher.stop()
        if self._eof_queued:
            self._eof_queued = False
            self._transport.send_eof()

    def _watch_writes(self) -> None:
        if not self._writing:
            self._writing = True
            if self._write_watcher is None:
                self._write_watcher = self._state.loop.io(self._transport.fileno(), WRITE)
            self._write_watcher.start(self._on_writable)

    def _on_writable(self) -> None:
        self._flush_in_hub()
        if self._senders and self._queued + self._transport.unsent <= self._low:
            self._wake_senders()

    def _write_failed(self, exc: OSError) -> None:
        """Note that the peer takes nothing any more; the reading side finds the end."""
        self._broken = True
        if self._cause is None:
            self._cause = exc.with_traceback(None)
        self._eof_queued = False
        self._pong = None
        self._queued = 0
        self._drained()
        self._wake_senders()

    # Waiting to send.

    def _wait_for_turn(self) -> None:
        """Wait until `_wake_senders` is called; the caller looks again whether it may send."""
        if self._senders is None:
            self._senders = WaitingLine(self._state.hub)
        self._senders.wait()

    def _wake_senders(self) -> None:
        """Let all greenlets that wait in `_wait_for_turn` look again, in order."""
        if self._senders is not None:
            self._senders.wake()

    # Ending.

    def _close_transport(self, abandon: bool = False) -> None:
        """Stop watching, then close the socket: its number may be another's at once."""
        for watcher in (self._read_watcher, self._write_watcher):
            if watcher is not None:
                # The hub, and its loop, may have been destroyed already.
                with contextlib.suppress(ValueError):
                    watcher.stop()
                    watcher.close()
        self._writing = False
        self._queue = self._pong = None
        self._queued = 0
        self._eof_queued = False
        if abandon:
            self._transport.abandon()
        else:
            self._transport.close()
        self._state.streams.discard(self)

    def _flush_in_hub(self) -> None:
        """Flush in the hub, from where no exception may escape."""
        try:
            self._flush()
        except BaseException:
            self._state.hub.handle_error(self, *sys.exc_info())
