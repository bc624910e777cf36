"""HTTP/1.1 as the opening handshake needs it: requests, responses, and limits (RFC 9112)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from geventws.core.body import MAX_BODY_SIZE, BodyReader, body_reader, check_request_body
from geventws.core.exceptions import (
    InvalidMessage,
    RequestLineTooLong,
    SecurityError,
    StatusLineTooLong,
)
from geventws.core.head import (
    MAX_HEAD_SIZE,
    MAX_LINE_LENGTH,
    MAX_NUM_HEADERS,
    HeadReader,
    parse_head,
    show,
)
from geventws.core.headers import Headers, is_value

__all__ = [
    "MAX_BODY_SIZE",
    "MAX_HEAD_SIZE",
    "MAX_LINE_LENGTH",
    "MAX_NUM_HEADERS",
    "Request",
    "RequestReader",
    "Response",
    "ResponseReader",
]

# RFC 9112, section 3: "request-line = method SP request-target SP HTTP-version". No method
# has a longer name, but what is not HTTP can go on without a space for long.
_TOKEN = r"[-!#$%&'*+.^_`|~0-9A-Za-z]{1,32}"
_is_request_line = re.compile(rf"({_TOKEN}) ([!-~]+) (HTTP/1\.[01])").fullmatch
_begins_request = re.compile(rf"{_TOKEN}(?: |\Z)".encode()).match

# Whoever writes a line like this speaks HTTP, and understands an answer that says what is
# wrong with it.
_speaks_http = re.compile(rf"{_TOKEN} .+ HTTP/1\.[0-9]\r?\n".encode(), re.DOTALL).fullmatch

# `int` accepts more than digits.
_is_integer = re.compile(r"[0-9]{1,18}").fullmatch


@dataclass(slots=True)
class Request:
    """A request of the opening handshake.

    Attributes:
        path: the path and the query, percent-encoded.
        headers: the headers.
        method: the method; an opening handshake uses GET.
        protocol: the HTTP version; an opening handshake uses HTTP/1.1.
    """

    path: str
    headers: Headers
    method: str = "GET"
    protocol: str = "HTTP/1.1"

    @classmethod
    def parse(cls, head: bytes, *, body: bool = False) -> Request:
        """Parse the head of a request, from its first byte through its blank line.

        Limits are the business of `RequestReader`.

        Args:
            head: the bytes.
            body: accept a request with a body, which follows the head.

        Raises:
            InvalidMessage: it is not a valid HTTP/1.x request, or it has a body that is not
                accepted; a `ValueError` is the cause.
        """
        try:
            return cls._parse(head, body)
        except ValueError as exc:
            raise InvalidMessage("did not receive a valid HTTP request") from exc

    @classmethod
    def _parse(cls, head: bytes, body: bool) -> Request:
        request_line, headers = parse_head(head)
        match = _is_request_line(request_line)
        if match is None:
            if request_line.isascii():
                raise ValueError(f"invalid HTTP request line: {show(request_line)}")
            raise ValueError(f"non-ASCII HTTP request line: {show(request_line)}")
        method, path, protocol = match.groups()
        if body:
            check_request_body(headers, protocol)
        # A request with a body could hide a second request in it from a proxy on the way.
        elif "Transfer-Encoding" in headers:
            raise ValueError("transfer codings aren't supported")
        # Some devices send Content-Length: 0.
        elif not set(headers.get_all("Content-Length")) <= {"0"}:
            raise ValueError("unsupported request body")
        return cls(path, headers, method, protocol)

    def serialize(self) -> bytes:
        """Return the request as it goes on the wire.

        Raises:
            ValueError: the method, path or protocol would break the request line.
        """
        request_line = f"{self.method} {self.path} {self.protocol}"
        if not _is_request_line(request_line):
            raise ValueError(
                f"invalid HTTP request line: {show(request_line)}; percent-encode the path"
            )
        return f"{request_line}\r\n".encode("ascii") + self.headers.serialize()


@dataclass(slots=True)
class Response:
    """A response of the opening handshake.

    Attributes:
        status_code: 101 if the handshake succeeded.
        reason_phrase: the status in words; may be empty.
        headers: the headers.
        body: what the server says about a refusal.
    """

    status_code: int
    reason_phrase: str
    headers: Headers
    body: bytes = b""

    @classmethod
    def parse(cls, head: bytes, *, proxy: bool = False) -> Response:
        """Parse the head of a response, from its first byte through its blank line.

        Args:
            head: the bytes.
            proxy: accept HTTP/1.0, which some proxies still speak.

        Raises:
            InvalidMessage: it is not a valid HTTP response; a `ValueError` is the cause.
        """
        try:
            return cls._parse(head, proxy)
        except ValueError as exc:
            raise InvalidMessage("did not receive a valid HTTP response") from exc

    @classmethod
    def _parse(cls, head: bytes, proxy: bool) -> Response:
        status_line, headers = parse_head(head)
        return cls(*_parse_status_line(status_line, proxy), headers)

    def serialize(self) -> bytes:
        """Return the response as it goes on the wire.

        Raises:
            ValueError: the reason phrase would break the status line.
        """
        if not is_value(self.reason_phrase):
            raise ValueError(f"invalid HTTP reason phrase: {show(self.reason_phrase)}")
        status_line = f"HTTP/1.1 {self.status_code} {self.reason_phrase}\r\n"
        return status_line.encode("iso-8859-1") + self.headers.serialize() + self.body


def _parse_status_line(line: str, proxy: bool) -> tuple[int, str]:
    """Return the status code and the reason phrase (RFC 9112, section 4)."""
    # "status-line = HTTP-version SP status-code SP [ reason-phrase ]".
    if line.count(" ") < 2:
        raise ValueError(f"invalid HTTP status line: {show(line)}")
    protocol, code, reason = line.split(" ", 2)
    if protocol != "HTTP/1.1" and not (proxy and protocol == "HTTP/1.0"):
        expected = "HTTP/1.1 or HTTP/1.0" if proxy else "HTTP/1.1"
        raise ValueError(f"unsupported protocol; expected {expected}: {show(line)}")
    if not _is_integer(code):
        raise ValueError(f"invalid status code; expected integer; got {show(code)}")
    if not 100 <= int(code) < 600:
        raise ValueError(f"invalid status code; expected 100–599; got {code}")
    return int(code), reason


class RequestReader(HeadReader):
    """Collects the head of a request, of any size of pieces.

    Attributes:
        leftover: what arrived behind the head.
        looks_like_http: the first line was one of HTTP/1.x, or began like one until it was
            too long: whatever is wrong deserves an answer. Anything else deserves silence.
    """

    __slots__ = ("looks_like_http",)

    first_line_too_long = RequestLineTooLong

    def __init__(self) -> None:
        super().__init__()
        self.looks_like_http = False

    def receive_data(self, data: bytes) -> bytes | None:
        """Take bytes; return the head, through its blank line, once it is complete.

        `Request.parse` makes a request of it. Do not call this again after it has returned
        a head or raised.

        Raises:
            RequestLineTooLong: the request line is over MAX_LINE_LENGTH.
            HeaderLineTooLong: a header line is over MAX_LINE_LENGTH.
            TooManyHeaders: there are more than MAX_NUM_HEADERS, or the head is over
                MAX_HEAD_SIZE.
            InvalidMessage: this is not HTTP/1.x; a `ValueError` is the cause.
        """
        try:
            return self.read_head(data)
        except RequestLineTooLong:
            # It begins as a request does, and there is a status code for it.
            self.looks_like_http = True
            raise
        except ValueError as exc:
            raise InvalidMessage("did not receive a valid HTTP request") from exc

    def eof(self) -> EOFError:
        """Return the error that says where the stream ended too early."""
        part = "headers" if self._num_lines else "request line"
        return EOFError(f"connection closed while reading HTTP {part}")

    def check_beginning(self, beginning: bytes) -> None:
        # TLS and most other protocols fail here with their first bytes.
        if beginning and not _begins_request(beginning):
            raise ValueError(f"invalid HTTP request line: {_show_bytes(beginning)}")

    def check_first_line(self, line: bytes) -> None:
        if not _speaks_http(line):
            raise ValueError(
                f"unsupported protocol; expected HTTP/1.1 or HTTP/1.0: {_show_bytes(line)}"
            )
        self.looks_like_http = True


class ResponseReader(HeadReader):
    """Collects a response: its head, and its body if there is one.

    Args:
        proxy: read a proxy's answer to CONNECT: HTTP/1.0 is accepted, and everything behind
            the head belongs to the tunnel.

    Attributes:
        head: the head, through its blank line, once it is complete.
        leftover: what arrived behind a head without body, such as the first frames.
    """

    __slots__ = ("_body", "_proxy", "_response", "head")

    first_line_too_long = StatusLineTooLong

    def __init__(self, *, proxy: bool = False) -> None:
        super().__init__()
        self._proxy = proxy
        # The response, its body still empty, once the head is complete.
        self._response: Response | None = None
        self._body: BodyReader | None = None
        self.head = b""

    def receive_data(self, data: bytes) -> Response | None:
        """Take bytes; return the response once it is complete.

        Do not call this again after it has returned a response or raised.

        Raises:
            StatusLineTooLong: the status line is over MAX_LINE_LENGTH.
            InvalidMessage: this is not an HTTP/1.1 response, or it exceeds a limit; a
                `ValueError` or a `SecurityError` is the cause.
        """
        try:
            return self._receive_data(data)
        except StatusLineTooLong:
            raise
        except (ValueError, SecurityError) as exc:
            raise InvalidMessage("did not receive a valid HTTP response") from exc

    def _receive_data(self, data: bytes) -> Response | None:
        if self._response is None:
            head = self.read_head(data)
            if head is None:
                return None
            self.head = head
            self._response = response = Response._parse(head, self._proxy)
            if not self._proxy:
                self._body = body_reader(response.status_code, response.headers)
            if self._body is None:
                return response
            data, self.leftover = self.leftover, b""
        # To the reader of a body, no bytes are the end.
        return self._receive_body(data) if data else None

    def receive_eof(self) -> Response:
        """Take the end of the stream, which may end the body; return the response.

        Raises:
            EOFError: the response is not complete.
        """
        response = self._receive_body(b"")
        if response is None:
            part = "headers" if self._num_lines else "status line"
            raise EOFError(f"connection closed while reading HTTP {part}")
        return response

    def _receive_body(self, data: bytes) -> Response | None:
        if self._response is None or self._body is None:
            return None
        try:
            self._body.send(data)
        except StopIteration as stop:
            self._response.body = stop.value
            return self._response
        return None

    def check_beginning(self, beginning: bytes) -> None:
        if not b"HTTP/".startswith(beginning[:5]):
            raise ValueError(f"invalid HTTP status line: {_show_bytes(beginning)}")

    def check_first_line(self, line: bytes) -> None:
        _parse_status_line(line.decode("iso-8859-1").rstrip("\r\n"), self._proxy)


def _show_bytes(line: bytes) -> str:
    return show(line.decode("iso-8859-1").rstrip("\r\n"))
