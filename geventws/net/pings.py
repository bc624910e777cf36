"""Pings that wait for their pong (RFC 6455, sections 5.5.2 and 5.5.3)."""

from __future__ import annotations

import os
from time import monotonic

from gevent.event import Event

from geventws.core.exceptions import ConcurrencyError
from geventws.net.threads import get_ident

__all__ = ["Ping", "PingBook"]


# Pings that may wait for their pong at a time; more than any use of them needs.
MAX_PENDING = 128


class Ping:
    """A ping that was sent; `wait` for its pong."""

    __slots__ = ("_done", "_thread", "ack_on_close", "acknowledged", "latency", "sent_at")

    def __init__(self, ack_on_close: bool = False) -> None:
        self.ack_on_close = ack_on_close
        # Whether the pong arrived.
        self.acknowledged = False
        # Seconds between ping and pong; None before the pong.
        self.latency: float | None = None
        self.sent_at = monotonic()
        self._done = Event()
        # The native thread whose hub it belongs to.
        self._thread = get_ident()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the pong.

        Args:
            timeout: in seconds; None waits for as long as the connection lasts.

        Returns:
            True once the pong arrived, or the connection closed if the ping was sent with
            ``ack_on_close=True``; False after the timeout, or when the connection closed.

        Raises:
            ConcurrencyError: another thread's hub would have to wait.
        """
        if not self._done.is_set():
            here = get_ident()
            if here != self._thread:
                raise ConcurrencyError(
                    f"this ping belongs to thread {self._thread} and was waited for in thread "
                    f"{here}; wait for it in the thread that sent it"
                )
            self._done.wait(timeout)
        return self.acknowledged

    def is_set(self) -> bool:
        """Whether the pong arrived."""
        return self.acknowledged

    def finish(self, acknowledged: bool) -> None:
        """Let go whoever waits."""
        if acknowledged:
            self.acknowledged = True
        self._done.set()


class PingBook:
    """The pings of one connection that wait for their pong, oldest first."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending: dict[bytes, Ping] = {}

    def __bool__(self) -> bool:
        return bool(self._pending)

    def new_payload(self) -> bytes:
        """Return a payload that no pending ping has.

        A peer that answers no pings makes them pile up; the oldest are given up.
        """
        while len(self._pending) >= MAX_PENDING:
            self._pending.pop(next(iter(self._pending))).finish(False)
        while (payload := os.urandom(4)) in self._pending:
            pass
        return payload

    def add(self, payload: bytes, ping: Ping) -> None:
        """Note a ping that is about to be sent.

        Raises:
            ConcurrencyError: a pending ping has the same payload.
        """
        if payload in self._pending:
            raise ConcurrencyError("already waiting for a pong with the same data")
        self._pending[payload] = ping

    def discard(self, payload: bytes) -> None:
        """Forget a ping that could not be sent."""
        self._pending.pop(payload, None)

    def receive_pong(self, payload: bytes) -> list[Ping]:
        """Return the pings that a pong answers, its own last."""
        # 5.5.3: "A Pong frame sent in response to a Ping frame must have identical
        # "Application data" as found in the message body of the Ping frame being replied to."
        if payload not in self._pending:
            return []
        answered = []
        # A peer may answer only the newest of several pings, so a pong answers older ones.
        for older in list(self._pending):
            ping = self._pending.pop(older)
            ping.latency = monotonic() - ping.sent_at
            ping.finish(True)
            answered.append(ping)
            if older == payload:
                break
        return answered

    def close(self) -> None:
        """Let go whoever waits: there will be no pongs any more."""
        for ping in self._pending.values():
            ping.finish(ping.ack_on_close)
        self._pending.clear()
