"""Tests of geventws.core.body."""

from __future__ import annotations

import pytest

from geventws.core import body
from geventws.core.body import body_reader, check_request_body
from geventws.core.exceptions import SecurityError
from geventws.core.headers import Headers

CHUNKED = Headers({"Transfer-Encoding": "chunked"})


def read(headers: Headers, data: bytes, size: int) -> bytes:
    """Feed a body in pieces, then the end of the stream."""
    reader = body_reader(404, headers)
    if reader is None:
        return b""
    try:
        for start in range(0, len(data), size):
            reader.send(data[start : start + size])
        reader.send(b"")
    except StopIteration as stop:
        result: bytes = stop.value
        return result
    raise AssertionError("the reader went on after the end")


every_size = pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])


@every_size
@pytest.mark.parametrize(
    "headers, data, expected",
    [
        (Headers({"Content-Length": "5"}), b"hello", b"hello"),
        (Headers({"Content-Length": "5"}), b"hello more", b"hello"),
        (Headers({"Content-Length": "0"}), b"", b""),
        (Headers([("Content-Length", "5"), ("Content-Length", "5")]), b"hello", b"hello"),
        (Headers(), b"hello", b"hello"),
        (Headers(), b"", b""),
        (CHUNKED, b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (CHUNKED, b"2\r\nhe\r\n003;x=y\r\nllo\r\n0;z\r\nX: y\r\nZ:\r\n\r\n", b"hello"),
        (CHUNKED, b"A\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n" * 5),
        (CHUNKED, b"0\r\n\r\n", b""),
        (
            Headers({"Transfer-Encoding": "Chunked", "Content-Length": "99"}),
            b"1\r\nx\r\n0\r\n\r\n",
            b"x",
        ),
    ],
)
def test_body(headers: Headers, data: bytes, expected: bytes, size: int) -> None:
    assert read(headers, data, size) == expected


@pytest.mark.parametrize("status_code", [100, 101, 199, 204, 304])
def test_status_without_body(status_code: int) -> None:
    assert body_reader(status_code, Headers({"Content-Length": "5"})) is None


@every_size
@pytest.mark.parametrize(
    "headers, data",
    [
        (Headers({"Content-Length": "5"}), b"hell"),
        (CHUNKED, b""),
        (CHUNKED, b"5"),
        (CHUNKED, b"5\r\nhello"),
        (CHUNKED, b"5\r\nhello\r\n"),
        (CHUNKED, b"5\r\nhello\r\n0\r\n"),
    ],
)
def test_end_of_stream_inside_body(headers: Headers, data: bytes, size: int) -> None:
    with pytest.raises(EOFError, match="connection closed while reading HTTP body"):
        read(headers, data, size)


@pytest.mark.parametrize(
    "headers, exc_type, message",
    [
        ({"Content-Length": "1048577"}, SecurityError, "body too large: 1048577 bytes"),
        ({"Content-Length": "+5"}, SecurityError, "invalid content length: +5"),
        ({"Content-Length": "5_0"}, SecurityError, "invalid content length: 5_0"),
        ({"Content-Length": "\xb2"}, SecurityError, r"invalid content length: \xb2"),
        ({"Content-Length": "-1"}, SecurityError, "invalid content length: -1"),
        ({"Content-Length": ""}, SecurityError, "invalid content length: "),
        ({"Content-Length": "9" * 19}, SecurityError, "invalid content length"),
        ({"Transfer-Encoding": "gzip"}, ValueError, "transfer coding gzip isn't supported"),
        ({"Transfer-Encoding": ""}, ValueError, "transfer coding  isn't supported"),
        (
            {"Transfer-Encoding": "gzip, chunked"},
            ValueError,
            "transfer coding gzip, chunked isn't supported",
        ),
    ],
)
def test_headers_of_no_body(
    headers: dict[str, str], exc_type: type[Exception], message: str
) -> None:
    with pytest.raises(exc_type) as raised:
        body_reader(200, Headers(headers))
    assert message in str(raised.value)


def test_several_lengths() -> None:
    headers = Headers([("Content-Length", "5"), ("Content-Length", "6")])
    with pytest.raises(ValueError, match="several content lengths: 5, 6"):
        body_reader(200, headers)


@every_size
@pytest.mark.parametrize(
    "data, exc_type, message",
    [
        (b"-1\r\n", SecurityError, "invalid chunk size: -1"),
        (b"0x5\r\n", SecurityError, "invalid chunk size: 0x5"),
        (b" 5\r\n", SecurityError, "invalid chunk size:  5"),
        (b"\r\n", SecurityError, "invalid chunk size: "),
        (b"5_0\r\n", SecurityError, "invalid chunk size: 5_0"),
        (b"\x1b\r\n", SecurityError, r"invalid chunk size: \x1b"),
        (b"f" * 16 + b"\r\n", SecurityError, "invalid chunk size"),
        (b"5\nhello\r\n", ValueError, "line without CRLF"),
        (b"5\r\nhello..", ValueError, "chunk without CRLF"),
    ],
)
def test_invalid_chunk(data: bytes, exc_type: type[Exception], message: str, size: int) -> None:
    with pytest.raises(exc_type) as raised:
        read(CHUNKED, data, size)
    assert message in str(raised.value)


@every_size
@pytest.mark.parametrize(
    "headers, data, message",
    [
        (Headers(), b"x" * 11, "body too large: "),
        (CHUNKED, b"b\r\n", "body too large: 11 bytes"),
        (CHUNKED, b"6\r\nhello!\r\n5\r\n", "body too large: 11 bytes"),
        (CHUNKED, b"1;" + b"x" * 99, "bytes, expected no more than 64 bytes"),
        (CHUNKED, b"1;" + b"x" * 99 + b"\r\n", "bytes, expected no more than 64 bytes"),
        (CHUNKED, b"0\r\nA: b\r\nC: d\r\nE: f\r\n", "expected no more than 2 trailers"),
    ],
)
def test_limits(
    headers: Headers, data: bytes, message: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "MAX_BODY_SIZE", 10)
    monkeypatch.setattr(body, "MAX_LINE_LENGTH", 64)
    monkeypatch.setattr(body, "MAX_NUM_HEADERS", 2)
    with pytest.raises(SecurityError) as raised:
        read(headers, data, size)
    assert message in str(raised.value)


def test_largest_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "MAX_BODY_SIZE", 10)
    monkeypatch.setattr(body, "MAX_LINE_LENGTH", 8)
    monkeypatch.setattr(body, "MAX_NUM_HEADERS", 2)
    assert read(Headers(), b"x" * 10, 3) == b"x" * 10
    data = b"a;2345\r\n" + b"x" * 10 + b"\r\n0\r\nA: b\r\nC: d\r\n\r\n"
    assert read(CHUNKED, data, 3) == b"x" * 10


# Bodies of requests


@pytest.mark.parametrize(
    "headers, protocol",
    [
        ([], "HTTP/1.1"),
        ([], "HTTP/1.0"),
        ([("Content-Length", "0")], "HTTP/1.1"),
        ([("Content-Length", "5")], "HTTP/1.0"),
        ([("Content-Length", "9" * 18)], "HTTP/1.1"),
        ([("Transfer-Encoding", "chunked")], "HTTP/1.1"),
        ([("Transfer-Encoding", "Chunked")], "HTTP/1.1"),
    ],
)
def test_one_way_to_tell_where_a_request_ends(
    headers: list[tuple[str, str]], protocol: str
) -> None:
    check_request_body(Headers(headers), protocol)


@pytest.mark.parametrize(
    "headers, protocol",
    [
        ([("Transfer-Encoding", "chunked"), ("Content-Length", "5")], "HTTP/1.1"),
        ([("Transfer-Encoding", "chunked")], "HTTP/1.0"),
        ([("Transfer-Encoding", "identity")], "HTTP/1.1"),
        ([("Transfer-Encoding", "gzip, chunked")], "HTTP/1.1"),
        ([("Transfer-Encoding", "gzip"), ("Transfer-Encoding", "chunked")], "HTTP/1.1"),
        ([("Transfer-Encoding", "chunked")] * 2, "HTTP/1.1"),
        ([("Transfer-Encoding", "")], "HTTP/1.1"),
        ([("Transfer-Encoding", ""), ("Content-Length", "5")], "HTTP/1.1"),
    ],
)
def test_unsupported_coding_of_a_request(headers: list[tuple[str, str]], protocol: str) -> None:
    with pytest.raises(ValueError, match="^unsupported transfer coding of a request$"):
        check_request_body(Headers(headers), protocol)


@pytest.mark.parametrize(
    "lengths",
    [["5", "6"], ["5", "5"], ["5, 5"], [""], ["+5"], ["-1"], ["5_0"], ["\xb2"], ["9" * 19]],
    ids=ascii,
)
def test_invalid_length_of_a_request(lengths: list[str]) -> None:
    headers = Headers([("Content-Length", length) for length in lengths])
    with pytest.raises(ValueError, match="^invalid content length of a request$"):
        check_request_body(headers, "HTTP/1.1")
