"""Where lines come from and go to: a terminal with a prompt, or pipes.

Whatever may wait for the other end happens in gevent's threadpool, so that pings are answered
meanwhile. Nothing is made non-blocking: the shell and other programs share these descriptors.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from collections.abc import Callable, Iterator
from typing import Any

import gevent

from geventws.cli.texts import columns

try:
    import termios
except ImportError:  # not on Windows
    termios = None  # type: ignore[assignment]

__all__ = ["Console", "Pipes", "Terminal", "above_prompt"]

CHUNK = 65536

# A line without an end must not fill the memory: no server takes a message of this size.
MAX_LINE = 16 * 2**20

# So many bytes a terminal or a pipe takes at once if it takes any. The threadpool costs 100 us.
WITHOUT_WAITING = 256

# What a terminal is told.
SAVE, RESTORE = "\x1b7", "\x1b8"
UP, DOWN, INSERT = "\x1b[{}A", "\x1b[{}B", "\x1b[{}L"
CLEAR = "\r\x1b[K"


class Console:
    """Where lines come from and go to.

    Args:
        source: the descriptor to read.
        target: the descriptor to write.
    """

    # Whether somebody sits there and types.
    interactive = False

    def __init__(self, source: int, target: int) -> None:
        self._source = source
        self._target = target

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the input, without their ends.

        Raises:
            ValueError: it cannot be a line.
        """
        raise NotImplementedError

    def show(self, line: bytes) -> None:
        """Write a line to the output.

        Raises:
            OSError: nobody reads it any more.
        """
        _write(self._target, line + b"\n")

    def say(self, text: str) -> None:
        """Write a text of ours to the output; see `show`."""
        self.show(text.encode(errors="replace"))

    def close(self) -> None:
        """Leave all as it was found."""


def _write(descriptor: int, data: bytes) -> None:
    """Write all of the data; in the threadpool, unless it can be done without waiting."""
    if len(data) <= WITHOUT_WAITING and _is_writable(descriptor):
        data = data[os.write(descriptor, data) :]
    while data:
        data = data[_aside(os.write, descriptor, data) :]


def _is_writable(descriptor: int) -> bool:
    try:
        return bool(select.select([], [descriptor], [], 0)[1])
    except (OSError, ValueError):  # Windows can tell for sockets only
        return False


def _aside(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in the threadpool, which would print what is raised there."""
    result, exc = gevent.get_hub().threadpool.apply(_catch, (function, *args))
    if exc is not None:
        raise exc
    return result


def _catch(function: Callable[..., Any], *args: Any) -> tuple[Any, Exception | None]:
    try:
        return function(*args), None
    except Exception as exc:
        return None, exc


class Pipes(Console):
    """Input and output of which one at least is no terminal."""

    def lines(self) -> Iterator[bytes]:
        rest = bytearray()
        while chunk := _aside(os.read, self._source, CHUNK):
            first, newline, more = chunk.partition(b"\n")
            rest += first
            if newline:
                yield bytes(rest.removesuffix(b"\r"))
                *whole, last = more.split(b"\n")
                yield from (line.removesuffix(b"\r") for line in whole)
                rest = bytearray(last)
            if len(rest) > MAX_LINE:
                raise ValueError(f"a line has more than {MAX_LINE} bytes")
        if rest:
            yield bytes(rest)


class Terminal(Console):
    """A terminal with a prompt; lines appear above it while the user types.

    It is that of standard input and output, where `input` has its prompt.
    """

    interactive = True

    def __init__(self) -> None:
        super().__init__(sys.stdin.fileno(), sys.stdout.fileno())
        if isinstance(sys.stdin, io.TextIOWrapper):
            # What is no text must be no reason to leave.
            sys.stdin.reconfigure(errors="surrogateescape")
        try:
            import readline
        except ImportError:  # then without editing and history
            pass
        else:
            # The terminal would keep it when we leave while somebody types.
            readline.parse_and_bind("set enable-bracketed-paste off")
        self._mode: Any = termios and termios.tcgetattr(self._source)
        self._prompting = False

    def lines(self) -> Iterator[bytes]:
        self._prompting = True
        with contextlib.suppress(EOFError):
            while True:
                line: str = _aside(input, "> ")
                yield line.encode(errors="surrogateescape")

    def show(self, line: bytes) -> None:
        if self._prompting:
            size = os.get_terminal_size(self._target)
            line = above_prompt(line.decode(errors="replace"), size).encode()
            _write(self._target, line)
        else:
            super().show(line)

    def close(self) -> None:
        # The prompt may still be there, and readline in the middle of a line.
        _write(self._target, CLEAR.encode())
        self._prompting = False
        if termios:
            termios.tcsetattr(self._source, termios.TCSADRAIN, self._mode)


def above_prompt(line: str, size: os.terminal_size) -> str:
    """Return what a terminal needs to show a line above the one with the prompt."""
    rows = max(1, -(-columns(line) // max(size.columns, 1)))
    if rows >= size.lines:
        # There is no room above: what the user has typed stays, though it is not seen.
        return f"{CLEAR}{line}\n> "
    # Make room below, so that the screen scrolls if it must; move the prompt down into it.
    room = "\n" * rows + UP.format(rows) + INSERT.format(rows)
    return f"{SAVE}{room}{line}\n{RESTORE}{DOWN.format(rows)}"
