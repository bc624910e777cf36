"""The journal: what happens to a connection, in order, until the log may be written.

The core never logs: a logging handler may block, switch greenlets, or call the connection
again, in the middle of a change of state. It writes to the journal instead, and whoever
does the I/O empties it into a logger once bytes are handed over.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

__all__ = ["Journal", "Line"]


# Lines that may wait to be emitted: only a log handler that blocks makes them wait, and then
# those of level DEBUG are dropped rather than kept for ever.
MAX_LINES = 1000


class Line(NamedTuple):
    """One line for the log."""

    level: int
    # With "%" placeholders for the arguments, as the logging module takes it.
    message: str
    args: tuple[object, ...]
    # Shown with its traceback.
    exc: BaseException | None


class Journal:
    """Lines for the log, in the order of what happened.

    Args:
        debug: whether to keep lines of level DEBUG.
    """

    __slots__ = ("_lines", "debug")

    def __init__(self, debug: bool) -> None:
        self.debug = debug
        self._lines: list[Line] | None = None

    @property
    def lines(self) -> list[Line]:
        """The lines that wait; a list only while there are any, which most never have."""
        if self._lines is None:
            self._lines = []
        return self._lines

    @property
    def waiting(self) -> bool:
        """Whether lines wait to be emitted."""
        return bool(self._lines)

    def take(self) -> Line:
        """Take the first line; there must be one."""
        line = self.lines.pop(0)
        if not self._lines:
            self._lines = None
        return line

    def debug_line(self, message: str, *args: object, exc: BaseException | None = None) -> None:
        """Write a line of level DEBUG, if those are kept.

        The first character tells what it is about: ``>`` sent, ``<`` received, ``=`` state,
        ``x`` shut down, ``%`` keepalive, ``-`` timeout, ``!`` error.
        """
        if self.debug and len(self.lines) < MAX_LINES:
            self.lines.append(Line(logging.DEBUG, message, args, exc))

    def line(
        self, level: int, message: str, *args: object, exc: BaseException | None = None
    ) -> None:
        """Write a line of any level."""
        self.lines.append(Line(level, message, args, exc))
