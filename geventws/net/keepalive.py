"""Deadlines of all connections of a hub, in one greenlet: open, ping, pong, close."""

from __future__ import annotations

import heapq
import sys
from time import monotonic
from typing import Any, Protocol

import gevent

__all__ = ["Deadline", "Keepalive"]

# When a deadline fires later than this, in seconds, the hub was blocked, not the peer slow:
# what the peers sent meanwhile is still unread.
LATE = 1.0

# Cancelled deadlines that may stay in the heap, however few live ones there are.
MIN_CANCELLED = 64


class HasDeadline(Protocol):
    """What may have a deadline."""

    def on_deadline(self) -> None:
        """React; runs in the keepalive greenlet, so it may log."""


class Deadline:
    """A moment at which something must have happened.

    Args:
        when: the moment, on the clock of its `Keepalive`.
        owner: whom to tell; None once it is cancelled.
    """

    __slots__ = ("owner", "when")

    def __init__(self, when: float, owner: HasDeadline | None) -> None:
        self.when = when
        self.owner = owner

    def __lt__(self, other: Deadline) -> bool:
        return self.when < other.when


class Keepalive:
    """The deadlines of one hub, watched by one greenlet.

    A greenlet for each connection would cost 8 KiB each. The timer does not keep the loop
    alive, so that programs end when nothing else is left to do.
    """

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self._heap: list[Deadline] = []
        # Entries of the heap that are cancelled.
        self._cancelled = 0
        # By how much deadlines moved because the hub was blocked, in seconds.
        self._lag = 0.0
        self._timer: Any = None
        self._timer_when = 0.0
        self._greenlet: gevent.Greenlet[..., Any] | None = None
        # Whether the greenlet waits for the timer.
        self._waiting = False

    def now(self) -> float:
        """Return the time on the clock of deadlines, in seconds."""
        return monotonic() - self._lag

    def schedule(self, owner: HasDeadline, delay: float) -> Deadline:
        """Call ``owner.on_deadline()`` after a delay in seconds, unless cancelled."""
        deadline = Deadline(self.now() + delay, owner)
        heapq.heappush(self._heap, deadline)
        if self._greenlet is None or self._greenlet.dead:
            self._start()
        elif self._waiting and (self._timer is None or deadline.when < self._timer_when):
            self._set_timer()
        return deadline

    def cancel(self, deadline: Deadline) -> None:
        """Take a deadline back."""
        if deadline.owner is not None:
            deadline.owner = None
            self._cancelled += 1
            if self._cancelled > max(MIN_CANCELLED, len(self._heap) // 2):
                self._heap = [entry for entry in self._heap if entry.owner is not None]
                heapq.heapify(self._heap)
                self._cancelled = 0

    def stop(self, block: bool = False) -> None:
        """Forget all deadlines and end the greenlet.

        Args:
            block: whether to wait for its end. A greenlet that never ends is never freed, nor
                is its hub.
        """
        self._heap.clear()
        greenlet, self._greenlet = self._greenlet, None
        self._close_timer()
        if greenlet is not None:
            greenlet.kill(block=block)

    def _start(self) -> None:
        self._greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        """Serve deadlines as they come; a kill only makes another greenlet go on."""
        try:
            while True:
                self._serve_due()
                self._wait()
        finally:
            self._waiting = False
            if self._greenlet is gevent.getcurrent():
                self._start()

    def _serve_due(self) -> None:
        if self._heap:
            late = self.now() - self._heap[0].when
            if late > LATE:
                self._lag += late
        while self._heap and self._heap[0].when <= self.now():
            deadline = heapq.heappop(self._heap)
            owner, deadline.owner = deadline.owner, None
            if owner is None:
                self._cancelled -= 1
                continue
            try:
                owner.on_deadline()
            except Exception:
                self._hub.handle_error(owner, *sys.exc_info())

    def _wait(self) -> None:
        """Wait until the first deadline."""
        self._waiting = True
        self._set_timer()
        try:
            self._hub.switch()
        finally:
            self._waiting = False
            self._close_timer()

    def _set_timer(self) -> None:
        self._close_timer()
        if self._heap:
            self._timer_when = self._heap[0].when
            # Timers under a millisecond make libuv complain.
            delay = max(self._timer_when - self.now(), 0.001)
            self._timer = self._hub.loop.timer(delay, ref=False)
            self._timer.start(self._wake, update=True)

    def _close_timer(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    def _wake(self) -> None:
        if self._waiting and self._greenlet is not None:
            self._waiting = False
            self._greenlet.switch()
