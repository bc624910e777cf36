"""Tests of geventws.cli.console: lines from and to pipes, lines above a prompt."""

from __future__ import annotations

import os
from collections.abc import Iterator

import gevent
import pytest

from geventws.cli import console
from geventws.cli.console import Pipes, above_prompt
from tests.net.support import PATIENCE, turns


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


@pytest.mark.parametrize(
    ("line", "rows"), [("x", 1), ("x" * 80, 1), ("x" * 81, 2), ("世" * 41, 2), ("", 1)]
)
def test_room_above_the_prompt(line: str, rows: int) -> None:
    expected = f"\x1b7{rows * chr(10)}\x1b[{rows}A\x1b[{rows}L{line}\n\x1b8\x1b[{rows}B"
    assert above_prompt(line, os.terminal_size((80, 24))) == expected


def test_line_as_long_as_the_screen() -> None:
    line = "x" * 80 * 24
    assert above_prompt(line, os.terminal_size((80, 24))) == f"\r\x1b[K{line}\n> "
