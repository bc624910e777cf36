"""Heartbeat: keepalive pings, and pings of the application (RFC 6455, section 5.5.2)."""

from __future__ import annotations

import contextlib
import random
import socket
from typing import Any

from geventws.core.frames import CloseCode
from geventws.core.states import State
from geventws.net import link
from geventws.net.pings import Ping, PingBook

__all__ = ["Heartbeat"]


class Heartbeat(link.Link):
    """A link that keeps itself alive, and notices when its peer is not.

    Args:
        ping_interval: seconds between keepalive pings, or None.
        ping_timeout: seconds to wait for their pongs, or None.
        args, kwargs: for `Link`.
    """

    __slots__ = (
        "_keepalive_ping",
        "_ping_interval",
        "_ping_timeout",
        "_pings",
        "_stalled",
        "latency",
    )

    def __init__(
        self,
        *args: Any,
        ping_interval: float | None,
        ping_timeout: float | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._pings: PingBook | None = None
        # The keepalive ping under way.
        self._keepalive_ping: Ping | None = None
        # Whether reading pauses because the application does not keep up.
        self._stalled = False
        # Seconds between the last ping and its pong; 0 before the first pong.
        self.latency = 0.0

    def _read(self, events: int = 0) -> None:
        """Read what lies in the socket; the class above knows how."""

    def _begin_heartbeat(self) -> None:
        """Send pings from now on."""
        # Connections opened at the same moment must not ping at the same moment.
        spread = random.uniform(0.5, 1)
        self._set_deadline(None if self._ping_interval is None else self._ping_interval * spread)

    def on_deadline(self) -> None:
        """React to the deadline; called in the keepalive greenlet."""
        if self._close_due:
            # The peer's answer, and the end of the stream behind it, may lie unread.
            for _ in range(2):
                if self._protocol.state is not State.CLOSED:
                    self._read()
            if self._protocol.state is not State.CLOSED:
                super().on_deadline()
            self._emit_elsewhere()
            return
        self._deadline = None
        if self._keepalive_ping is None or self._ping_timeout is None:
            self._send_keepalive_ping()
        else:
            self._miss_pong()
        self._emit_elsewhere()

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
        with contextlib.suppress(OSError):
            # A connection that is lost already makes the next ping fail.
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

    def _wake_waiters(self) -> None:
        if self._pings is not None:
            self._pings.close()
            self._pings = None
        self._keepalive_ping = None
        super()._wake_waiters()
