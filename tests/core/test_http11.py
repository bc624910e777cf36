"""Tests of geventws.core.http11."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from geventws.core import body, head
from geventws.core.exceptions import (
    HeaderLineTooLong,
    InvalidHandshake,
    InvalidMessage,
    RequestLineTooLong,
    SecurityError,
    StatusLineTooLong,
    TooManyHeaders,
)
from geventws.core.headers import Headers
from geventws.core.http11 import (
    Request,
    RequestReader,
    Response,
    ResponseReader,
)

REQUEST = (
    b"GET /chat?x=1 HTTP/1.1\r\n"
    b"Host: server.example.com\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"\r\n"
)

RESPONSE = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    b"\r\n"
)

every_size = pytest.mark.parametrize("size", [1, 2, 3, 50, 100_000])


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def read_request(reader: RequestReader, data: bytes, size: int) -> bytes | None:
    """Feed a reader in pieces; return the head, and leave all the rest in ``leftover``."""
    result = None
    for piece in pieces(data, size):
        if result is None:
            result = reader.receive_data(piece)
        else:
            reader.leftover += piece
    return result


def read_response(
    reader: ResponseReader, data: bytes, size: int, *, eof: bool = False
) -> Response | None:
    result = None
    for piece in pieces(data, size):
        if result is None:
            result = reader.receive_data(piece)
        else:
            reader.leftover += piece
    return reader.receive_eof() if result is None and eof else result


# Requests


def test_request() -> None:
    request = Request.parse(REQUEST)
    assert (request.method, request.path, request.protocol) == ("GET", "/chat?x=1", "HTTP/1.1")
    assert request.headers["host"] == "server.example.com"
    assert len(request.headers) == 5
    assert request.serialize() == REQUEST


def test_request_is_parsed_again_to_the_same() -> None:
    assert Request.parse(REQUEST) == Request.parse(REQUEST)


@pytest.mark.parametrize(
    "line, expected",
    [
        (b"POST / HTTP/1.1", ("POST", "/", "HTTP/1.1")),
        (b"HEAD /a HTTP/1.0", ("HEAD", "/a", "HTTP/1.0")),
        (b"VERSION-CONTROL * HTTP/1.1", ("VERSION-CONTROL", "*", "HTTP/1.1")),
        (b"GET http://h/%20 HTTP/1.1", ("GET", "http://h/%20", "HTTP/1.1")),
    ],
)
def test_request_line(line: bytes, expected: tuple[str, str, str]) -> None:
    request = Request.parse(line + b"\r\nHost: h\r\n\r\n")
    assert (request.method, request.path, request.protocol) == expected


def test_request_values_are_iso_8859_1() -> None:
    data = REQUEST[:-2] + b"X: caf\xe9\r\n\r\n"
    request = Request.parse(data)
    assert request.headers["X"] == "café"
    assert request.serialize() == data


@pytest.mark.parametrize("extra", [b"", b"Content-Length: 0\r\n", b"Content-Length: 0\r\n" * 2])
def test_request_without_body(extra: bytes) -> None:
    Request.parse(REQUEST[:-2] + extra + b"\r\n")


@pytest.mark.parametrize(
    "data, message",
    [
        (b"GET / HTTP/1.2\r\n\r\n", "invalid HTTP request line: GET / HTTP/1.2"),
        (b"GET /\r\n\r\n", "invalid HTTP request line: GET /"),
        (b"GET  / HTTP/1.1\r\n\r\n", "invalid HTTP request line: GET  / HTTP/1.1"),
        (b"GET /a b HTTP/1.1\r\n\r\n", "invalid HTTP request line"),
        (b"G(T / HTTP/1.1\r\n\r\n", "invalid HTTP request line"),
        (b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n", r"non-ASCII HTTP request line: GET /\xc3\xa9"),
        (b"\r\n" + REQUEST, "invalid HTTP header line"),
        (REQUEST.replace(b"\r\n", b"\n"), "doesn't end with a blank line"),
        (REQUEST.replace(b"\r\nUpgrade", b"\nUpgrade"), "invalid HTTP header value"),
        (REQUEST.replace(b"\r\nUpgrade", b"\r\n Upgrade"), "invalid HTTP header name"),
        (REQUEST.replace(b"Host:", b"Host :"), "invalid HTTP header name: Host "),
        (REQUEST.replace(b"Host:", b"H\xf6st:"), r"invalid HTTP header name: H\xf6st"),
        (REQUEST[:-2] + b"Content-Length: 5\r\n\r\nhello", "doesn't end with a blank line"),
        (REQUEST[:-2] + b"Content-Length: 5\r\n\r\n", "unsupported request body"),
        (REQUEST[:-2] + b"Content-Length: +0\r\n\r\n", "unsupported request body"),
        (REQUEST[:-2] + b"Transfer-Encoding: chunked\r\n\r\n", "transfer codings aren't"),
    ],
)
def test_invalid_request(data: bytes, message: str) -> None:
    with pytest.raises(InvalidMessage, match="^did not receive a valid HTTP request$") as raised:
        Request.parse(data)
    assert isinstance(raised.value.__cause__, ValueError)
    assert message in str(raised.value.__cause__)


@pytest.mark.parametrize(
    "request_",
    [
        Request("/ HTTP/1.1\r\nX: y\r\n\r\n", Headers()),
        Request("/a b", Headers()),
        Request("/é", Headers()),
        Request("", Headers()),
        Request("/", Headers(), method="GET /x"),
        Request("/", Headers(), protocol="HTTP/2"),
    ],
)
def test_request_that_cannot_be_sent(request_: Request) -> None:
    with pytest.raises(ValueError, match="invalid HTTP request line"):
        request_.serialize()


# Reading requests


@every_size
@pytest.mark.parametrize("leftover", [b"", b"\x81\x85\x00\x00\x00\x00hello", b"\r\n\r\n"])
def test_read_request(size: int, leftover: bytes) -> None:
    reader = RequestReader()
    assert read_request(reader, REQUEST + leftover, size) == REQUEST
    assert reader.leftover == leftover
    assert reader.looks_like_http


@every_size
def test_incomplete_request(size: int) -> None:
    for end in range(len(REQUEST)):
        assert read_request(RequestReader(), REQUEST[:end], size) is None


def test_no_bytes_change_nothing() -> None:
    reader = RequestReader()
    assert reader.receive_data(b"") is None
    assert read_request(reader, REQUEST, 10) == REQUEST


# What is wrong with a head, and whether it deserves an answer in HTTP.
GARBAGE = [
    # a TLS ClientHello, SSH, SMTP, HTTP/2, WebSocket frames, noise
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), False),
    (b"\x16\x03\x01" + bytes(9000), False),
    (b"SSH-2.0-OpenSSH_9.2p1\r\n", False),
    (b"EHLO example.com\r\n", False),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", False),
    (b"\x81\x85\x00\x00\x00\x00hello", False),
    (b"\r\n\r\n", False),
    (b"\n", False),
    (b" GET / HTTP/1.1\r\n", False),
    (b"A" * 33, False),
    (b"A" * 9000, False),
    (b"GET /\r\n", False),
    (b"GET / HTTP/1.1 \r\n", False),
    (b"G(T / HTTP/1.1\r\n", False),
    # HTTP, and a mistake
    (b"GET / HTTP/1.1\n", True),
    (b"GET / HTTP/1.0\r\nHost: h\n", True),
]


@every_size
@pytest.mark.parametrize("data, looks_like_http", GARBAGE)
def test_garbage(data: bytes, looks_like_http: bool, size: int) -> None:
    reader = RequestReader()
    with pytest.raises(InvalidMessage, match="did not receive a valid HTTP request") as raised:
        read_request(reader, data, size)
    assert isinstance(raised.value.__cause__, ValueError)
    assert reader.looks_like_http is looks_like_http


@pytest.mark.parametrize("data", [b"\x16", b"\x81", b" ", b"\x00", b"A" * 33, b"GET\t"])
def test_garbage_is_not_waited_for(data: bytes) -> None:
    with pytest.raises(InvalidMessage, match="did not receive a valid HTTP request"):
        RequestReader().receive_data(data)


@every_size
@pytest.mark.parametrize(
    "line", [b"GET /\xc3\xa9 HTTP/1.1", b"GET /a b HTTP/1.1", b"GET / HTTP/1.9"]
)
def test_malformed_request_line_deserves_an_answer(line: bytes, size: int) -> None:
    reader = RequestReader()
    head_ = read_request(reader, line + b"\r\nHost: h\r\n\r\n", size)
    assert head_ is not None
    assert reader.looks_like_http
    with pytest.raises(InvalidMessage):
        Request.parse(head_)


LINE = head.MAX_LINE_LENGTH


@every_size
@pytest.mark.parametrize(
    "data, exc_type",
    [
        (b"GET /" + b"a" * LINE, RequestLineTooLong),
        (b"GET /" + b"a" * LINE + b" HTTP/1.1\r\n", RequestLineTooLong),
        (REQUEST[:-2] + b"X: " + b"a" * LINE, HeaderLineTooLong),
        (REQUEST[:-2] + b"X: " + b"a" * LINE + b"\r\n\r\n", HeaderLineTooLong),
        (REQUEST[:-2] + b"X: y\r\n" * 124, TooManyHeaders),
        (REQUEST[:-2] + (b"X: " + b"a" * 8000 + b"\r\n") * 9, TooManyHeaders),
    ],
)
def test_request_over_limits(data: bytes, exc_type: type[Exception], size: int) -> None:
    reader = RequestReader()
    with pytest.raises(exc_type, match="expected no more than"):
        read_request(reader, data, size)
    assert reader.looks_like_http


@every_size
def test_largest_request_allowed(size: int) -> None:
    line = b"GET /" + b"a" * (LINE - len("GET / HTTP/1.1\r\n")) + b" HTTP/1.1\r\n"
    header = b"X: " + b"a" * (LINE - len("X: \r\n")) + b"\r\n"
    assert len(line) == len(header) == LINE
    data = line + header + b"X: y\r\n" * (head.MAX_NUM_HEADERS - 1) + b"\r\n"
    assert read_request(RequestReader(), data, size) == data
    assert len(Request.parse(data).headers.get_all("X")) == head.MAX_NUM_HEADERS


@every_size
def test_largest_head_allowed(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "MAX_HEAD_SIZE", len(REQUEST))
    reader = RequestReader()
    assert read_request(reader, REQUEST + b"leftover is another matter", size) == REQUEST
    monkeypatch.setattr(head, "MAX_HEAD_SIZE", len(REQUEST) - 1)
    size_ = len(REQUEST)
    with pytest.raises(TooManyHeaders, match=f"{size_} bytes .* no more than {size_ - 1} bytes"):
        read_request(RequestReader(), REQUEST, size)


def test_text_of_limits() -> None:
    with pytest.raises(RequestLineTooLong) as raised:
        RequestReader().receive_data(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n")
    assert str(raised.value) == "read 9016 bytes, expected no more than 8192 bytes"
    with pytest.raises(TooManyHeaders) as raised_:
        RequestReader().receive_data(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 129)
    assert str(raised_.value) == "expected no more than 128 headers"


@pytest.mark.parametrize(
    "data, part",
    [
        (b"", "request line"),
        (b"GET / HTTP/1.1\r", "request line"),
        (b"GET / HTTP/1.1\r\n", "headers"),
        (b"GET / HTTP/1.1\r\nHost: h\r\n", "headers"),
    ],
)
def test_request_eof(data: bytes, part: str) -> None:
    reader = RequestReader()
    reader.receive_data(data)
    assert str(reader.eof()) == f"connection closed while reading HTTP {part}"


# Responses


def test_response() -> None:
    response = Response.parse(RESPONSE)
    assert (response.status_code, response.reason_phrase) == (101, "Switching Protocols")
    assert response.headers["upgrade"] == "websocket"
    assert response.body == b""
    assert response.serialize() == RESPONSE


def test_response_with_body_is_serialized() -> None:
    response = Response(200, "", Headers({"X": "é"}), b"body")
    assert response.serialize() == b"HTTP/1.1 200 \r\nX: \xe9\r\n\r\nbody"


@pytest.mark.parametrize("reason", ["OK\r\nX: y", "OK\x00", "€"])
def test_response_that_cannot_be_sent(reason: str) -> None:
    with pytest.raises(ValueError, match="invalid HTTP reason phrase"):
        Response(200, reason, Headers()).serialize()


INVALID_STATUS_LINES = [
    (b"HTTP/1.1 101", "invalid HTTP status line: HTTP/1.1 101"),
    (b"HTTP/1.1", "invalid HTTP status line: HTTP/1.1"),
    (b"HTTP/1.0 200 OK", "unsupported protocol; expected HTTP/1.1: HTTP/1.0 200 OK"),
    (b"HTTP/2 200 OK", "unsupported protocol; expected HTTP/1.1: HTTP/2 200 OK"),
    (b"HTTP/1.1 OK 200", "invalid status code; expected integer; got OK"),
    (b"HTTP/1.1 +20 OK", "invalid status code; expected integer; got +20"),
    (b"HTTP/1.1  OK", "invalid status code; expected integer; got "),
    (b"HTTP/1.1 999 OK", "invalid status code; expected 100–599; got 999"),
    (b"HTTP/1.1 99 OK", "invalid status code; expected 100–599; got 99"),
    (b"HTTP/1.1 007 OK", "invalid status code; expected 100–599; got 007"),
]


@pytest.mark.parametrize("line, message", INVALID_STATUS_LINES)
def test_invalid_status_line(line: bytes, message: str) -> None:
    with pytest.raises(InvalidMessage, match="^did not receive a valid HTTP response$") as raised:
        Response.parse(line + b"\r\n\r\n")
    assert str(raised.value.__cause__) == message


@every_size
@pytest.mark.parametrize("line, message", INVALID_STATUS_LINES)
def test_read_invalid_status_line(line: bytes, message: str, size: int) -> None:
    with pytest.raises(InvalidMessage, match="^did not receive a valid HTTP response$") as raised:
        read_response(ResponseReader(), line + b"\r\n", size)
    assert str(raised.value.__cause__) == message


# Reading responses


@every_size
@pytest.mark.parametrize("leftover", [b"", b"\x81\x05hello", b"\r\n\r\n"])
def test_read_response(size: int, leftover: bytes) -> None:
    reader = ResponseReader()
    assert read_response(reader, RESPONSE + leftover, size) == Response.parse(RESPONSE)
    assert reader.head == RESPONSE
    assert reader.leftover == leftover


HEAD_404 = b"HTTP/1.1 404 Not Found\r\n"
SIZED = HEAD_404 + b"Content-Length: 5\r\n\r\n"
CHUNKED = HEAD_404 + b"Transfer-Encoding: chunked\r\n\r\n"


@every_size
@pytest.mark.parametrize(
    "data, expected",
    [
        (SIZED + b"hello", b"hello"),
        (CHUNKED + b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"hello"),
        (HEAD_404 + b"Content-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
        (b"HTTP/1.1 503 \r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    ],
)
def test_read_body(data: bytes, expected: bytes, size: int) -> None:
    response = read_response(ResponseReader(), data, size)
    assert response is not None
    assert response.body == expected


@every_size
def test_read_body_until_the_end(size: int) -> None:
    reader = ResponseReader()
    assert read_response(reader, HEAD_404 + b"\r\nhello", size) is None
    assert reader.receive_data(b"") is None
    response = reader.receive_eof()
    assert (response.status_code, response.body) == (404, b"hello")
    assert reader.head == HEAD_404 + b"\r\n"


@every_size
@pytest.mark.parametrize(
    "data, cause, message",
    [
        (SIZED.replace(b" 5", b" 2000000"), SecurityError, "body too large: 2000000 bytes"),
        (SIZED.replace(b" 5", b" +5"), SecurityError, "invalid content length: +5"),
        (CHUNKED + b"0x5\r\n", SecurityError, "invalid chunk size: 0x5"),
        (CHUNKED.replace(b"chunked", b"gzip"), ValueError, "transfer coding gzip isn't"),
        (HEAD_404 + b"X: " + b"a" * LINE, HeaderLineTooLong, "no more than 8192 bytes"),
        (HEAD_404 + b"X: y\r\n" * 129, TooManyHeaders, "expected no more than 128 headers"),
        (HEAD_404 + b"X y\r\n\r\n", ValueError, "invalid HTTP header line: X y"),
        (b"HTTP/1.1 404 Not Found\n", ValueError, "line without CRLF"),
    ],
)
def test_invalid_response(data: bytes, cause: type[Exception], message: str, size: int) -> None:
    with pytest.raises(InvalidMessage, match="^did not receive a valid HTTP response$") as raised:
        read_response(ResponseReader(), data, size)
    assert isinstance(raised.value.__cause__, cause)
    assert message in str(raised.value.__cause__)


@every_size
def test_body_over_limit(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "MAX_BODY_SIZE", 10)
    with pytest.raises(InvalidMessage) as raised:
        read_response(ResponseReader(), HEAD_404 + b"\r\n" + b"x" * 11, size)
    assert isinstance(raised.value.__cause__, SecurityError)
    assert str(raised.value.__cause__) == "body too large: 11 bytes"


@every_size
def test_status_line_too_long(size: int) -> None:
    with pytest.raises(StatusLineTooLong, match="expected no more than 8192 bytes"):
        read_response(ResponseReader(), b"HTTP/1.1 200 " + b"a" * LINE, size)


@pytest.mark.parametrize("data", [b"\x15\x03\x03", b"SSH-2.0-x", b"h", b"\r\n", b"HTTQ"])
def test_garbage_instead_of_a_response_is_not_waited_for(data: bytes) -> None:
    with pytest.raises(InvalidMessage) as raised:
        ResponseReader().receive_data(data)
    assert "invalid HTTP status line" in str(raised.value.__cause__)


@every_size
@pytest.mark.parametrize(
    "data, part",
    [
        (b"", "status line"),
        (b"HTTP/1.1 101 Switching", "status line"),
        (b"HTTP/1.1 101 \r\n", "headers"),
        (RESPONSE[:-1], "headers"),
        (SIZED + b"hell", "body"),
        (CHUNKED + b"1\r\n", "body"),
    ],
)
def test_response_eof(data: bytes, part: str, size: int) -> None:
    with pytest.raises(EOFError) as raised:
        read_response(ResponseReader(), data, size, eof=True)
    assert str(raised.value) == f"connection closed while reading HTTP {part}"


@every_size
@pytest.mark.parametrize(
    "line", [b"HTTP/1.0 200 Connection established", b"HTTP/1.1 200 OK", b"HTTP/1.1 407 No"]
)
def test_answer_of_a_proxy(line: bytes, size: int) -> None:
    reader = ResponseReader(proxy=True)
    data = line + b"\r\nContent-Length: 5\r\n\r\n"
    response = read_response(reader, data + b"tunnel", size)
    assert response == Response.parse(data, proxy=True)
    assert response.body == b""
    assert reader.leftover == b"tunnel"


def test_invalid_answer_of_a_proxy() -> None:
    with pytest.raises(InvalidMessage) as raised:
        ResponseReader(proxy=True).receive_data(b"HTTP/2 200 OK\r\n")
    assert "expected HTTP/1.1 or HTTP/1.0" in str(raised.value.__cause__)


# However a message is cut, the outcome is the same


def outcome(read: Callable[[], object]) -> object:
    try:
        return read()
    except InvalidHandshake as exc:
        return type(exc), type(exc.__cause__)


@pytest.mark.parametrize("position", range(0, len(REQUEST), 7))
@pytest.mark.parametrize("byte", [b"\x00", b"\n", b"\r", b" ", b":", b"\xff", b"\r\n"])
def test_damaged_request(position: int, byte: bytes) -> None:
    data = REQUEST[:position] + byte + REQUEST[position + 1 :] + b"leftover"

    def read(size: int) -> tuple[object, bool]:
        reader = RequestReader()

        def parse() -> object:
            head_ = read_request(reader, data, size)
            return head_ and (Request.parse(head_), reader.leftover)

        return outcome(parse), reader.looks_like_http

    assert read(1) == read(2) == read(100_000)


@pytest.mark.parametrize("position", range(0, len(RESPONSE), 7))
@pytest.mark.parametrize("byte", [b"\x00", b"\n", b"\r", b" ", b":", b"\xff", b"\r\n"])
def test_damaged_response(position: int, byte: bytes) -> None:
    data = RESPONSE[:position] + byte + RESPONSE[position + 1 :]

    def read(size: int) -> object:
        return outcome(lambda: read_response(ResponseReader(), data, size))

    assert read(1) == read(2) == read(100_000)


# Limits from the environment


def evaluate(expression: str, **environment: str) -> str:
    """Evaluate an expression in a process of its own, for what is read at import."""
    code = f"from geventws.core import body, head, http11; print(({expression}))"
    process = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        check=True,
        text=True,
    )
    return process.stdout.strip()


@pytest.mark.parametrize(
    "expression, environment, expected",
    [
        (
            "head.MAX_LINE_LENGTH, head.MAX_NUM_HEADERS, head.MAX_HEAD_SIZE, body.MAX_BODY_SIZE",
            {
                "GEVENTWS_MAX_LINE_LENGTH": "1",
                "GEVENTWS_MAX_NUM_HEADERS": "2",
                "GEVENTWS_MAX_HEAD_SIZE": "3",
                "GEVENTWS_MAX_BODY_SIZE": "4",
            },
            "(1, 2, 3, 4)",
        ),
        (
            "http11.MAX_LINE_LENGTH, http11.MAX_NUM_HEADERS, http11.MAX_HEAD_SIZE, "
            "http11.MAX_BODY_SIZE",
            {},
            "(8192, 128, 65536, 1048576)",
        ),
    ],
)
def test_limits_from_the_environment(
    expression: str, environment: dict[str, str], expected: str
) -> None:
    assert evaluate(expression, **environment) == expected
