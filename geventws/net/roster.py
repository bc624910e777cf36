"""Roster: whom a server serves, from accepting to the end of the handler, and their end."""

from __future__ import annotations

import os
import weakref
from collections import Counter
from typing import Any

import gevent

from geventws.core.states import State
from geventws.net.server_connection import Phase, ServerConnection, ServerShutdown

__all__ = ["Roster"]


class Roster:
    """The connections of a server: the greenlets that serve them, and who outlived those."""

    def __init__(self) -> None:
        # The greenlet of each connection, from accepting to the end of its handler; None for
        # one that was accepted and has not begun.
        self.greenlets: dict[Any, ServerConnection | None] = {}
        # Connections that the hub closes, after their greenlet has ended.
        self.survivors: weakref.WeakSet[ServerConnection] = weakref.WeakSet()
        # How many of a kind met which end: for the log.
        self._ends: Counter[tuple[str, str]] = Counter()
        _all_rosters.add(self)

    @property
    def connections(self) -> set[ServerConnection]:
        """The connections that are open now; a new set at each call, in any thread."""
        # Copied at one stroke: the server's thread goes on meanwhile.
        connections = list(self.greenlets.values())
        return {ws for ws in connections if ws is not None and ws.state is State.OPEN}

    def leave(self, ws: ServerConnection, code: int) -> None:
        """Let the hub close a connection that nobody serves any more, if it is not over."""
        if not ws._ended:
            self.survivors.add(ws)
            ws._begin_close(code)

    def abandon(self) -> None:
        """Forget all, after a fork: their handlers go on in the parent process only."""
        self.greenlets.clear()
        self.survivors.clear()

    # The end.

    def close(self, code: int, reason: str) -> None:
        """Begin to close all connections, each as its state demands."""
        for ws in list(self.greenlets.values()):
            if ws is None:
                # It will see for itself that the server closes.
                self._ends["handshake", "answered with 503"] += 1
            elif ws.state is not State.CONNECTING:
                if ws.state is State.OPEN:
                    self._ends["connection", f"closed with {code}"] += 1
                ws._say_goodbye(code, reason)
            elif ws._close_due:
                # It is refused already, and only waits for the client to go.
                ws._lost()
            elif ws._phase is Phase.HANDSHAKE:
                self._ends["handshake", "answered with 503"] += 1
                ws._interrupt_opening(ServerShutdown())
            else:
                self._ends["HTTP connection", "ended"] += 1
                if ws._phase is Phase.IDLE:
                    ws._interrupt_opening(ServerShutdown())

    def join(self, timeout: float | None) -> None:
        """Wait for the handlers; after the timeout, kill them and abort their connections.

        Args:
            timeout: in seconds; None waits for as long as it takes.
        """
        others = [greenlet for greenlet in self.greenlets if greenlet is not gevent.getcurrent()]
        survivors = list(self.survivors)
        with gevent.Timeout(timeout, False):  # type: ignore[arg-type]
            gevent.joinall(others)
            for survivor in survivors:
                survivor._wait_ended()
        for survivor in survivors:
            survivor._lost()
        late = [greenlet for greenlet in others if not greenlet.dead]
        for greenlet in late:
            self._ends["handler", "killed"] += 1
            ws = self.greenlets.get(greenlet)
            greenlet.kill(block=False)
            if ws is not None:
                ws._lost()
        gevent.joinall(late, timeout=1)
        for greenlet in late:
            # One that was killed before it began could not do it itself.
            self.greenlets.pop(greenlet, None)

    def summary(self) -> str:
        """Return how many met which end: ``2 connections closed with 1001``; "" for none."""
        return ", ".join(
            f"{count} {kind}{'' if count == 1 else 's'} {end}"
            for (kind, end), count in self._ends.items()
        )


_all_rosters: weakref.WeakSet[Roster] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for roster in list(_all_rosters):
        roster.abandon()


os.register_at_fork(after_in_child=_after_fork_in_child)
