"""Bodies in HTTP/1.1: sized, chunked, or until the end (RFC 9112, sections 6 and 7).

Each kind of a response's body is a generator: it waits at ``yield`` for the next bytes,
``b""`` for the end of the stream, and returns the body once it is complete. `body_reader`
chooses and starts the right one. Bodies of requests are not read here, only checked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator

from geventws.core.exceptions import SecurityError
from geventws.core.head import MAX_LINE_LENGTH, MAX_NUM_HEADERS, show
from geventws.core.headers import Headers

__all__ = ["MAX_BODY_SIZE", "BodyReader", "body_reader", "check_request_body"]

# Bytes of a response's body: enough for the page that explains why a server refuses.
MAX_BODY_SIZE = int(os.environ.get("GEVENTWS_MAX_BODY_SIZE", "1_048_576"))

# `int` reads signs, spaces and underscores, too, and other parsers on the way do not: two
# parsers that disagree about a length are an attack. The numbers of digits fit 64 bits.
_is_size = re.compile(r"[0-9]{1,18}").fullmatch
_is_chunk_size = re.compile(rb"[0-9A-Fa-f]{1,15}").fullmatch

BodyReader = Generator[None, bytes, bytes]


def body_reader(status_code: int, headers: Headers) -> BodyReader | None:
    """Return a started reader of a response's body, or None if there can be no body.

    Raises:
        ValueError: the transfer coding is not supported, or there are several lengths.
        SecurityError: the length is not a number, or too big.
    """
    # RFC 9112, section 6.3: "any response with a 1xx (Informational), 204 (No Content), or
    # 304 (Not Modified) status code is always terminated by the first empty line".
    if status_code < 200 or status_code in (204, 304):
        return None
    # 6.3: "If a message is received with both a Transfer-Encoding and a Content-Length
    # header field, the Transfer-Encoding overrides the Content-Length."
    # An empty header is one as well: others, such as proxies, go by its presence.
    codings = ", ".join(headers.get_all("Transfer-Encoding"))
    lengths = set(headers.get_all("Content-Length"))
    if "Transfer-Encoding" in headers:
        if codings.lower() != "chunked":
            raise ValueError(f"transfer coding {show(codings)} isn't supported")
        reader = _read_chunks()
    elif lengths:
        if len(lengths) > 1:
            raise ValueError(f"several content lengths: {show(', '.join(sorted(lengths)))}")
        reader = _read_size(_content_length(lengths.pop()))
    else:
        reader = _read_to_end()
    try:
        next(reader)
    except StopIteration:
        # Content-Length: 0
        return None
    return reader


def check_request_body(headers: Headers, protocol: str) -> None:
    """Check that there is one way only to tell where a request's body ends.

    Raises:
        ValueError: there are several, or none.
    """
    codings = ", ".join(headers.get_all("Transfer-Encoding"))
    lengths = headers.get_all("Content-Length")
    # RFC 9112, section 6.1: "A server MAY reject a request that contains both Content-Length
    # and Transfer-Encoding". And: "A server or client that receives an HTTP/1.0 message
    # containing a Transfer-Encoding header field MUST treat the message as if the framing is
    # faulty".
    faulty = codings.lower() != "chunked" or lengths or protocol != "HTTP/1.1"
    if "Transfer-Encoding" in headers and faulty:
        raise ValueError("unsupported transfer coding of a request")
    if len(lengths) > 1 or not all(map(_is_size, lengths)):
        raise ValueError("invalid content length of a request")


def _content_length(value: str) -> int:
    if not _is_size(value):
        raise SecurityError(f"invalid content length: {show(value)}")
    return _check_size(int(value))


def _check_size(size: int) -> int:
    if size > MAX_BODY_SIZE:
        raise SecurityError(f"body too large: {size} bytes")
    return size


def _receive(buffer: bytearray) -> Generator[None, bytes, None]:
    """Wait for bytes that the body needs."""
    data = yield
    if not data:
        raise EOFError("connection closed while reading HTTP body")
    buffer += data


def _read_size(size: int) -> BodyReader:
    body = bytearray()
    while len(body) < size:
        yield from _receive(body)
    return bytes(body[:size])


def _read_to_end() -> BodyReader:
    body = bytearray()
    while data := (yield):
        body += data
        _check_size(len(body))
    return bytes(body)


def _read_chunks() -> BodyReader:
    """Read a chunked body (RFC 9112, section 7.1)."""
    buffer, body = bytearray(), bytearray()
    while size := _chunk_size((yield from _read_line(buffer))):
        _check_size(len(body) + size)
        while len(buffer) < size + 2:
            yield from _receive(buffer)
        if buffer[size : size + 2] != b"\r\n":
            raise ValueError("chunk without CRLF")
        body += buffer[:size]
        del buffer[: size + 2]
    # 7.1.2: the trailer section ends with an empty line; nobody asks for what is in it.
    for _ in range(MAX_NUM_HEADERS + 1):
        if not (yield from _read_line(buffer)):
            return bytes(body)
    raise SecurityError(f"expected no more than {MAX_NUM_HEADERS} trailers")


def _chunk_size(line: bytes) -> int:
    # 7.1.1: "A recipient MUST ignore unrecognized chunk extensions."
    size = line.partition(b";")[0]
    if not _is_chunk_size(size):
        raise SecurityError(f"invalid chunk size: {show(size.decode('iso-8859-1'))}")
    return int(size, 16)


def _read_line(buffer: bytearray) -> BodyReader:
    """Take a line out of the buffer, without its CRLF."""
    searched = 0
    while not (end := buffer.find(b"\n", searched) + 1):
        searched = len(buffer)
        if searched >= MAX_LINE_LENGTH:
            break
        yield from _receive(buffer)
    if not 0 < end <= MAX_LINE_LENGTH:
        size = end or len(buffer)
        raise SecurityError(f"read {size} bytes, expected no more than {MAX_LINE_LENGTH} bytes")
    line = bytes(buffer[:end])
    if not line.endswith(b"\r\n"):
        raise ValueError("line without CRLF")
    del buffer[:end]
    return line[:-2]
