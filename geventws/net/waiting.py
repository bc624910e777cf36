"""Waiting in line: greenlets that wait until they are told to look again."""

from __future__ import annotations

from typing import Any

import gevent

__all__ = ["WaitingLine"]


class WaitingLine:
    """Greenlets that wait, in order.

    A greenlet leaves the line when it is woken, and also by a timeout or a kill: it is never
    switched to once it does something else.

    Args:
        hub: the hub that runs them.
    """

    __slots__ = ("_cells", "_hub")

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        # Each greenlet in a cell of its own, which is emptied when its wait ends.
        self._cells: list[list[Any]] = []

    def __len__(self) -> int:
        return len(self._cells)

    def wait(self) -> None:
        """Wait until `wake` is called; the caller then looks again what it waits for."""
        cell = [gevent.getcurrent()]
        self._cells.append(cell)
        try:
            self._hub.switch()
        finally:
            cell.clear()
            self._cells = [other for other in self._cells if other is not cell]

    def wake(self) -> None:
        """Let all who wait look again, from the hub."""
        cells, self._cells = self._cells, []
        for cell in cells:
            self._hub.loop.run_callback(self._resume, cell)

    def _resume(self, cell: list[Any]) -> None:
        # It may have left by itself since the callback was queued. If it ends by an exception, the
        # loop reports that, as for every callback.
        if cell:
            cell.pop().switch()
