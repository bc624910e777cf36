"""Tests of geventws.cli.console: lines from and to pipes, lines above a prompt."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import pty
import struct
import sys
import termios
import types
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import gevent
import pytest
from gevent.os import make_nonblocking, nb_read

from geventws.cli import console
from geventws.cli.console import Console, Pipes, Terminal, above_prompt
from tests.cli.support import COLUMNS, ROWS
from tests.net.support import PATIENCE, turns

CTRL_D = b"\x04"


@pytest.fixture
def pipes() -> Iterator[tuple[Pipes, list[int]]]:
    """A console, and the other ends of its pipes: where to write, where to read."""
    source, write = os.pipe()
    read, target = os.pipe()
    ends = [write, read]
    yield Pipes(source, target), ends
    for descriptor in (source, target, *ends):
        os.close(descriptor)


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a\r\n\r\nb"], [b"a", b"", b"b"]),
        ([b"a", b"b\nc", b"\n\xff"], [b"ab", b"c", b"\xff"]),
        ([], []),
    ],
)
def test_lines(pipes: tuple[Pipes, list[int]], chunks: list[bytes], lines: list[bytes]) -> None:
    console, ends = pipes
    reading = gevent.spawn(lambda: list(console.lines()))
    for chunk in chunks:
        os.write(ends[0], chunk)
        turns()
    os.close(ends.pop(0))
    # Under monkey patching it is closed in the loop's next turn, for which nothing else may call.
    turns()
    assert reading.get(timeout=PATIENCE) == lines


def test_line_without_end(pipes: tuple[Pipes, list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "MAX_LINE", 10)
    os.write(pipes[1][0], b"12345678901")
    with pytest.raises(ValueError, match="a line has more than 10 bytes"):
        next(pipes[0].lines())


@pytest.mark.parametrize("size", [1, console.WITHOUT_WAITING, 300_000])
def test_output_that_is_read_late_stops_nobody(pipes: tuple[Pipes, list[int]], size: int) -> None:
    line = b"x" * size
    showing = gevent.spawn(lambda: [pipes[0].show(line) for _ in range(3)])
    turns()
    received = b""
    with gevent.Timeout(PATIENCE):
        while len(received) < 3 * (size + 1):
            received += gevent.os.tp_read(pipes[1][1], 65536)
    assert received == 3 * (line + b"\n")
    showing.get(timeout=PATIENCE)


@pytest.mark.parametrize("size", [1, 300_000])
def test_output_that_nobody_reads(
    pipes: tuple[Pipes, list[int]], size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    os.close(pipes[1].pop())
    # Under monkey patching it is closed in the loop's next turn.
    turns()
    with pytest.raises(BrokenPipeError):
        pipes[0].show(b"x" * size)
    # gevent's threadpool would print it.
    assert capsys.readouterr().err == ""


def test_output_that_is_no_descriptor() -> None:
    """`select` cannot tell whether it is writable; writing says what is wrong."""
    with pytest.raises(OSError, match="Bad file descriptor"):
        Pipes(0, -1).show(b"x")


def test_say(pipes: tuple[Pipes, list[int]]) -> None:
    pipes[0].say("é\udcff")
    assert os.read(pipes[1][1], 100) == "é?\n".encode()


def test_console_of_no_kind_has_no_lines() -> None:
    with pytest.raises(NotImplementedError):
        Console(0, 1).lines()


@pytest.mark.parametrize(
    ("line", "rows"), [("x", 1), ("x" * 80, 1), ("x" * 81, 2), ("世" * 41, 2), ("", 1)]
)
def test_room_above_the_prompt(line: str, rows: int) -> None:
    expected = f"\x1b7{rows * chr(10)}\x1b[{rows}A\x1b[{rows}L{line}\n\x1b8\x1b[{rows}B"
    assert above_prompt(line, os.terminal_size((80, 24))) == expected


def test_line_as_long_as_the_screen() -> None:
    line = "x" * 80 * 24
    assert above_prompt(line, os.terminal_size((80, 24))) == f"\r\x1b[K{line}\n> "


class Screen:
    """Who sits at a terminal.

    Args:
        ours: the end to type at and to look at.
        theirs: the terminal's own descriptor.
    """

    def __init__(self, ours: int, theirs: int) -> None:
        self._ours = ours
        self.theirs = theirs
        self.mode = termios.tcgetattr(theirs)

    def type(self, data: bytes) -> None:
        """Type something."""
        os.write(self._ours, data)

    def wait_for(self, text: str) -> None:
        """Wait until this, and nothing else, was written."""
        data, expected = b"", text.encode()
        with gevent.Timeout(PATIENCE, False):
            while len(data) < len(expected):
                data += nb_read(self._ours, 65536)
        assert data == expected


@contextlib.contextmanager
def screen(
    stdin: Callable[[TextIO], Any] = lambda stream: stream,
) -> Iterator[tuple[Screen, list[str]]]:
    """Make a terminal standard input and output of this process; yield what readline was told, too.

    The real readline works for the whole process: `test_connect` has it, in a process of its own.

    Args:
        stdin: makes ``sys.stdin`` of the stream that Python would make.
    """
    ours, theirs = pty.openpty()
    make_nonblocking(ours)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    mode = termios.tcgetattr(theirs)
    # What is seen is what was written: no echo, and line ends as they are.
    mode[1] &= ~termios.OPOST
    mode[3] &= ~termios.ECHO
    termios.tcsetattr(theirs, termios.TCSANOW, mode)
    bound: list[str] = []
    readline: Any = types.ModuleType("readline")
    readline.parse_and_bind = bound.append
    # Here and not in a fixture, between which and the test pytest has standard output back.
    with (
        pytest.MonkeyPatch.context() as patch,
        open(theirs, encoding="utf-8") as source,
        open(theirs, "w", encoding="utf-8", closefd=False) as target,
    ):
        patch.setattr(sys, "stdin", stdin(source))
        patch.setattr(sys, "stdout", target)
        patch.setitem(sys.modules, "readline", readline)
        try:
            yield Screen(ours, theirs), bound
        finally:
            # Hang up: that ends a thread that still reads.
            os.close(ours)
            gevent.get_hub().threadpool.join()


def test_terminal() -> None:
    with screen() as (user, bound):
        terminal = Terminal()
        assert terminal.interactive
        assert bound == ["set enable-bracketed-paste off"]
        reading = gevent.spawn(lambda: list(terminal.lines()))
        for line in ("é".encode(), b"\xff", b""):
            user.wait_for("> ")
            user.type(line + b"\n")
        user.wait_for("> ")
        user.type(CTRL_D)
        # What is no text arrives as it was typed.
        assert reading.get(timeout=PATIENCE) == ["é".encode(), b"\xff", b""]


def test_terminal_shows_lines_above_its_prompt() -> None:
    with screen() as (user, _):
        terminal = Terminal()
        terminal.show(b"before")
        user.wait_for("before\n")
        reading = gevent.spawn(next, terminal.lines(), None)
        user.wait_for("> ")
        terminal.show(b"x" * COLUMNS + b"\xff")
        line = "x" * COLUMNS + "\N{REPLACEMENT CHARACTER}"
        user.wait_for(above_prompt(line, os.terminal_size((COLUMNS, ROWS))))
        user.type(CTRL_D)
        assert reading.get(timeout=PATIENCE) is None


def test_closed_terminal_is_as_it_was() -> None:
    with screen() as (user, _):
        terminal = Terminal()
        reading = gevent.spawn(next, terminal.lines())
        user.wait_for("> ")
        # As readline does while somebody types.
        mode = [*user.mode]
        mode[3] &= ~termios.ICANON
        termios.tcsetattr(user.theirs, termios.TCSANOW, mode)
        terminal.close()
        user.wait_for("\r\x1b[K")
        assert termios.tcgetattr(user.theirs) == user.mode
        terminal.say("There is no prompt any more.")
        user.wait_for("There is no prompt any more.\n")
        user.type(b"line\n")
        assert reading.get(timeout=PATIENCE) == b"line"


class Wrapper:
    """What programs put in the place of ``sys.stdin``: it has what `input` needs."""

    def __init__(self, stream: TextIO) -> None:
        self.fileno, self.readline = stream.fileno, stream.readline


def test_terminal_without_its_modules() -> None:
    """As on Windows; and standard input is not the stream that Python made."""
    with screen(Wrapper) as (user, _), pytest.MonkeyPatch.context() as patch:
        for name in ("termios", "readline"):
            patch.setitem(sys.modules, name, None)
        terminal = copy_of_module().Terminal()
        reading = gevent.spawn(next, terminal.lines())
        user.wait_for("> ")
        user.type("é\n".encode())
        assert reading.get(timeout=PATIENCE) == "é".encode()
        terminal.close()
        user.wait_for("\r\x1b[K")


def copy_of_module() -> Any:
    """The module, imported once more, under another name."""
    spec = importlib.util.spec_from_file_location("another_console", console.__file__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
