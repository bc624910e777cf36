"""Turns of the loop: what goes on only after all sockets were looked at again."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from geventws.net.waiting import WaitingLine

__all__ = ["Turns"]


class Turns:
    """Calls functions, from the hub, in the next turn of the loop.

    For whoever has more to do than is fair to do at once. `run_callback`, and `gevent.sleep(0)`
    with it, will not do: gevent runs callbacks, and those that they add, for 5 ms before it
    polls again, and looks at the clock after every 50 of them only.

    Args:
        hub: the hub whose loop it is.
    """

    __slots__ = ("_functions", "_hub", "_idle", "_line")

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self._functions: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        # Greenlets that wait for the next turn.
        self._line = WaitingLine(hub)
        # Runs once a turn while it is started, and keeps the loop from waiting; most hubs
        # never need it.
        self._idle: Any = None

    def add(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function in the next turn; those that are added meanwhile come a turn later."""
        self._functions.append((function, args))
        if self._idle is None:
            # libev runs idle watchers of low priority only when there is nothing else to do.
            self._idle = self._hub.loop.idle(priority=self._hub.loop.MAXPRI)
        if not self._idle.active:
            self._idle.start(self._run)

    def wait(self) -> None:
        """Let the current greenlet go on in the next turn."""
        if not self._line:
            self.add(self._line.wake)
        self._line.wait()

    def stop(self) -> None:
        """Forget everything, because the hub's loop ends or is the parent process's."""
        self._functions.clear()
        if self._idle is not None:
            # The hub, and its loop, may have been destroyed already.
            with contextlib.suppress(ValueError):
                self._idle.stop()
                self._idle.close()
            self._idle = None

    def _run(self) -> None:
        functions = self._functions
        try:
            for _ in range(len(functions)):
                function, args = functions.popleft()
                function(*args)
        except BaseException:
            # Out of here it would stop the watcher for good; the others come a turn later.
            self._hub.handle_error(self, *sys.exc_info())
        if not functions and self._idle is not None:
            self._idle.stop()
