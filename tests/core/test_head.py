"""Tests of geventws.core.head; requests and responses are read in test_http11."""

from __future__ import annotations

import pytest

from geventws.core import head
from geventws.core.exceptions import (
    HeaderLineTooLong,
    RequestLineTooLong,
    SecurityError,
    TooManyHeaders,
)
from geventws.core.head import HeadReader, parse_head, show
from geventws.core.headers import WELL_KNOWN_NAMES

HEAD = b"first line\r\nHost: h\r\nX: y\r\n\r\n"

every_size = pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])


class Reader(HeadReader):
    """Writes down what it is asked to check."""

    first_line_too_long = RequestLineTooLong

    def __init__(self) -> None:
        super().__init__()
        self.beginnings: list[bytes] = []
        self.first_lines: list[bytes] = []

    def check_beginning(self, beginning: bytes) -> None:
        super().check_beginning(beginning)
        self.beginnings.append(beginning)

    def check_first_line(self, line: bytes) -> None:
        super().check_first_line(line)
        self.first_lines.append(line)


def read(reader: HeadReader, data: bytes, size: int) -> bytes | None:
    """Feed a reader in pieces; return the head, and leave all the rest in ``leftover``."""
    result = None
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        if result is None:
            result = reader.read_head(piece)
        else:
            reader.leftover += piece
    return result


# Collecting


@every_size
@pytest.mark.parametrize("leftover", [b"", b"\x81\x05hello", b"\r\n\r\n"])
def test_read_head(size: int, leftover: bytes) -> None:
    reader = Reader()
    assert read(reader, HEAD + leftover, size) == HEAD
    assert reader.leftover == leftover
    assert reader.first_lines == [b"first line\r\n"]


@every_size
def test_a_head_without_its_end_is_waited_for(size: int) -> None:
    for end in range(len(HEAD)):
        reader = Reader()
        assert read(reader, HEAD[:end], size) is None
        assert reader.leftover == b""
        assert reader.read_head(HEAD[end:]) == HEAD


def test_a_subclass_sees_the_beginning_until_the_first_line_is_there() -> None:
    reader = Reader()
    for piece in (b"GET ", b"/" + b"x" * 99, b" HTTP/1.1\r\nHost", b": h\r\n"):
        assert reader.read_head(piece) is None
    # No more than 64 bytes of it.
    beginning = b"GET /" + b"x" * 59
    assert reader.beginnings == [b"GET ", beginning, beginning]
    assert reader.first_lines == [b"GET /" + b"x" * 99 + b" HTTP/1.1\r\n"]


@every_size
@pytest.mark.parametrize("data", [b"\n", b"first line\n", HEAD[:-2] + b"A: b\n", HEAD[:-2] + b"\n"])
def test_line_without_crlf(data: bytes, size: int) -> None:
    with pytest.raises(ValueError, match="^line without CRLF$"):
        read(Reader(), data, size)


# Limits


def set_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "MAX_LINE_LENGTH", 16)
    monkeypatch.setattr(head, "MAX_NUM_HEADERS", 3)
    monkeypatch.setattr(head, "MAX_HEAD_SIZE", 39)


@every_size
@pytest.mark.parametrize(
    "data, exc_type, message",
    [
        # Whether the end of the line is there or not.
        (b"x" * 17, RequestLineTooLong, "bytes, expected no more than 16 bytes"),
        (b"x" * 15 + b"\r\n", RequestLineTooLong, "read 17 bytes, expected no more than 16 bytes"),
        (b"x\r\nA: " + b"x" * 14, HeaderLineTooLong, "bytes, expected no more than 16 bytes"),
        (
            b"x\r\nA: " + b"x" * 12 + b"\r\n\r\n",
            HeaderLineTooLong,
            "read 17 bytes, expected no more than 16 bytes",
        ),
        (b"x\r\n" + b"A: b\r\n" * 4, TooManyHeaders, "expected no more than 3 headers"),
        (
            (b"x" * 14 + b"\r\n") * 2 + b"A: 45678",
            TooManyHeaders,
            "bytes of headers, expected no more than 39 bytes",
        ),
        (
            (b"x" * 14 + b"\r\n") * 2 + b"A: 4\r\n\r\n",
            TooManyHeaders,
            "read 40 bytes of headers, expected no more than 39 bytes",
        ),
        # A line over both limits is over that of the head first, however much arrives at once.
        (
            (b"x" * 14 + b"\r\n") * 2 + b"A: " + b"x" * 14,
            TooManyHeaders,
            "bytes of headers, expected no more than 39 bytes",
        ),
    ],
)
def test_limits(
    data: bytes,
    exc_type: type[SecurityError],
    message: str,
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_limits(monkeypatch)
    with pytest.raises(SecurityError) as raised:
        read(Reader(), data, size)
    assert type(raised.value) is exc_type
    assert message in str(raised.value)


@every_size
def test_largest_allowed(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(monkeypatch)
    # A first line of 16 bytes, three headers, 39 bytes; the leftover is another matter.
    data = b"x" * 14 + b"\r\n" + b"A:345\r\n" * 3 + b"\r\n"
    assert len(data) == 39
    assert read(Reader(), data + b"x" * 99, size) == data
    # A header line of 16 bytes.
    data = b"x\r\nA: " + b"x" * 11 + b"\r\n\r\n"
    assert read(Reader(), data, size) == data


# Parsing


def test_parse_head() -> None:
    first_line, headers = parse_head(
        b"first line\r\n"
        b"Host: h\r\nX-Empty:\r\nX-Space: \t a b \t\r\nX-Latin: \xe9\r\nhost:2\r\n\r\n"
    )
    assert first_line == "first line"
    assert list(headers.raw_items()) == [
        ("Host", "h"),
        ("X-Empty", ""),
        ("X-Space", "a b"),
        ("X-Latin", "é"),
        ("host", "2"),
    ]


def test_parse_head_without_headers() -> None:
    first_line, headers = parse_head(b"first line\r\n\r\n")
    assert first_line == "first line"
    assert len(headers) == 0


def test_common_names_are_shared() -> None:
    _, headers = parse_head(b"x\r\nsec-websocket-key: y\r\n\r\n")
    assert next(headers.raw_items())[0] is WELL_KNOWN_NAMES["sec-websocket-key"]


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "doesn't end with a blank line"),
        (b"\r\n", "doesn't end with a blank line"),
        (b"x\r\nA: b\r\n", "doesn't end with a blank line"),
        (b"x\r\n\r\nA: b", "doesn't end with a blank line"),
        (b"x\r\n\r\nA: b\r\n\r\n", "invalid HTTP header line: "),
        (b"x\r\nHost\r\n\r\n", "invalid HTTP header line: Host"),
        (b"x\r\nA : b\r\n\r\n", "invalid HTTP header name: A "),
        (b"x\r\n: b\r\n\r\n", "invalid HTTP header name: "),
        (b"x\r\nA: b\r\n c: d\r\n\r\n", "invalid HTTP header name:  c"),
        (b"x\r\nA: b\r\n\tc: d\r\n\r\n", "invalid HTTP header name: \\tc"),
        (b"x\r\nA: b\r\n folded\r\n\r\n", "invalid HTTP header line:  folded"),
        (b"x\r\nA(b): c\r\n\r\n", "invalid HTTP header name: A(b)"),
        (b"x\r\n\xe9: c\r\n\r\n", "invalid HTTP header name: \\xe9"),
        (b"x\r\nA: b\x00\r\n\r\n", "invalid HTTP header value: b\\x00"),
        (b"x\r\nA: b\nC: d\r\n\r\n", "invalid HTTP header value: b\\nC: d"),
        (b"x\r\nA: b\rC: d\r\n\r\n", "invalid HTTP header value: b\\rC: d"),
        (b"x\r\nA: \rb\n\r\n\r\n", "invalid HTTP header value: b"),
        (b"x\x7f\r\nA: b\r\n\r\n", "invalid HTTP start line: x\\x7f"),
        (b"x\r\n\xff\x00" + b"y" * 200 + b"\r\n\r\n", "invalid HTTP header value: "),
    ],
)
def test_invalid_head(data: bytes, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        parse_head(data)
    assert message in str(raised.value)


def test_show_is_fit_for_logs() -> None:
    assert show("a\r\n! forged\x1b[31m") == "a\\r\\n! forged\\x1b[31m"
    assert len(show("x" * 10_000)) == 100
