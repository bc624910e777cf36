"""The head of an HTTP/1.1 message: collect it within limits, parse it (RFC 9112, section 2)."""

from __future__ import annotations

import os
from typing import NoReturn

from geventws.core.exceptions import HeaderLineTooLong, SecurityError, TooManyHeaders
from geventws.core.headers import WELL_KNOWN_NAMES, Headers, is_token, is_value

__all__ = ["MAX_HEAD_SIZE", "MAX_LINE_LENGTH", "MAX_NUM_HEADERS", "HeadReader", "parse_head"]

# Bytes of a request line, a status line, or a header line, with CRLF. 8 KiB is what popular
# HTTP servers allow.
MAX_LINE_LENGTH = int(os.environ.get("GEVENTWS_MAX_LINE_LENGTH", "8192"))

# Number of header lines: far above what browsers and proxies add up to.
MAX_NUM_HEADERS = int(os.environ.get("GEVENTWS_MAX_NUM_HEADERS", "128"))

# Bytes of a whole head. The two limits above allow a megabyte to each peer that never says
# a word of WebSocket; real heads with all their cookies stay well below this.
MAX_HEAD_SIZE = int(os.environ.get("GEVENTWS_MAX_HEAD_SIZE", "65536"))

# What a head consists of, CR and LF apart.
_VALID_BYTES = bytes([*b"\t", *range(0x20, 0x7F), *range(0x80, 0x100)])


class HeadReader:
    """Collects a head, and raises as soon as it is clear that it will not become one.

    Each byte is searched once, however the head was cut into pieces. What the first line
    must be, a request line or a status line, is for a subclass to check.
    """

    __slots__ = ("_buffer", "_line", "_num_lines", "leftover")

    # What a first line over MAX_LINE_LENGTH raises.
    first_line_too_long: type[SecurityError]

    def __init__(self) -> None:
        # What arrived of the head.
        self._buffer = bytearray()
        # Where the unfinished line begins.
        self._line = 0
        # How many lines are complete, the first line among them.
        self._num_lines = 0
        # What arrived behind the head.
        self.leftover = b""

    def read_head(self, data: bytes) -> bytes | None:
        """Take bytes; return the head through its blank line once it is complete.

        Raises:
            SecurityError: a limit is exceeded.
            ValueError: this is not the head of an HTTP/1.x message.
        """
        buffer, searched = self._buffer, len(self._buffer)
        buffer += data
        if not self._num_lines:
            self.check_beginning(bytes(buffer[:64]))
        while end := buffer.find(b"\n", searched) + 1:
            self._check_sizes(end)
            if not self._num_lines:
                self.check_first_line(bytes(buffer[:end]))
            if not buffer.endswith(b"\r\n", self._line, end):
                raise ValueError("line without CRLF")
            if end - self._line == 2:
                self.leftover, self._buffer = bytes(buffer[end:]), bytearray()
                return bytes(buffer[:end])
            self._num_lines += 1
            if self._num_lines > MAX_NUM_HEADERS + 1:
                raise TooManyHeaders(f"expected no more than {MAX_NUM_HEADERS} headers")
            self._line = searched = end
        self._check_sizes(len(buffer))
        return None

    def check_beginning(self, beginning: bytes) -> None:
        """Check the first bytes, at most 64, before the first line is complete.

        Raises:
            ValueError: no HTTP/1.x message begins like this.
        """

    def check_first_line(self, line: bytes) -> None:
        """Check the first line, line end included.

        Raises:
            ValueError: no HTTP/1.x message has this first line.
        """

    def _check_sizes(self, end: int) -> None:
        """Check the limits, given where the current line ends, or how far it has come."""
        length = end - self._line
        # Of two limits, the one that comes first counts, however much arrived at once.
        if length > MAX_LINE_LENGTH and self._line + MAX_LINE_LENGTH <= MAX_HEAD_SIZE:
            too_long = HeaderLineTooLong if self._num_lines else self.first_line_too_long
            raise too_long(f"read {length} bytes, expected no more than {MAX_LINE_LENGTH} bytes")
        if end > MAX_HEAD_SIZE:
            raise TooManyHeaders(
                f"read {end} bytes of headers, expected no more than {MAX_HEAD_SIZE} bytes"
            )


def parse_head(head: bytes) -> tuple[str, Headers]:
    """Return the first line, unchecked, and the headers (RFC 9112, section 5).

    Raises:
        ValueError: the head breaks the grammar.
    """
    # RFC 9110, section 5.5: what is beyond ASCII is "opaque data"; ISO-8859-1 keeps it.
    first_line, *lines = head.decode("iso-8859-1").split("\r\n")
    if lines[-2:] != ["", ""]:
        raise ValueError("HTTP head doesn't end with a blank line")
    # Every CR and LF belongs to a CRLF, and there are no other control characters: one look
    # at all bytes is faster than one at each value.
    if len(head.translate(None, _VALID_BYTES)) != 2 * len(lines):
        _raise_invalid_line([first_line, *lines])
    items = []
    for line in lines[:-2]:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"invalid HTTP header line: {show(line)}")
        # RFC 9112, section 5.1: "No whitespace is allowed between the field name and colon."
        # Obsolete line folding, whose lines begin with whitespace, ends here as well.
        known = WELL_KNOWN_NAMES.get(name)
        if known is None and not is_token(name):
            raise ValueError(f"invalid HTTP header name: {show(name)}")
        items.append((known or name, value.strip(" \t")))
    return first_line, Headers.from_valid_items(items)


def _raise_invalid_line(lines: list[str]) -> NoReturn:
    """Say which line has a character that HTTP does not allow."""
    invalid = next(line for line in lines if not is_value(line))
    if invalid is lines[0]:
        raise ValueError(f"invalid HTTP start line: {show(invalid)}")
    raise ValueError(f"invalid HTTP header value: {show(invalid.partition(':')[2].strip())}")


def show(text: str) -> str:
    """Make what a peer sent fit for logs: short, and without control characters."""
    text = ascii(text)[1:-1]
    return text if len(text) <= 100 else f"{text[:97]}..."
