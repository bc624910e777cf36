"""Heads of requests, and what a server makes of them."""

from __future__ import annotations

import re

from geventws.core.deflate_negotiation import enable_server_permessage_deflate
from geventws.core.exceptions import InvalidHandshake
from geventws.core.http11 import Request, RequestReader, Response, ResponseReader
from geventws.core.server_handshake import ServerHandshake, log_label
from tests.errors import check_error
from tests.fuzz.chunks import ways_to_cut
from tests.fuzz.limits import check_sizes, limits

# What of the core is tried.
MODULES = ["http11", "head", "server_handshake"]

TOKENS = [
    b"GET / HTTP/1.1\r\n",
    b"\r\n\r\n",
    b"HTTP/1.0",
    b"Host: localhost\r\n",
    b"Connection: keep-alive, Upgrade\r\n",
    b"Upgrade: websocket\r\n",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Sec-WebSocket-Version: 13\r\n",
    b"Sec-WebSocket-Protocol: chat\r\n",
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n",
    b"Origin: https://example.com\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"client_max_window_bits",
    b"server_no_context_takeover",
]

HANDSHAKE = ServerHandshake(
    origins=["https://example.com", re.compile(r"https://[a-z]+\.example\.org"), None],
    extensions=enable_server_permessage_deflate(None),
    select_subprotocol=lambda offered: offered[0] if offered else None,
)

DATE = "Mon, 01 Jan 2024 00:00:00 GMT"


def check(data: bytes) -> None:
    """Read a request: the first byte chooses the limits, and how it is cut."""
    if not data:
        return
    small = data[0] & 0x80 != 0
    outcomes = [read(pieces, small) for pieces in ways_to_cut(data[1:], data[0] % 8)]
    assert outcomes[1:] == outcomes[:-1], outcomes
    if isinstance(outcomes[0][0], Request):
        check_request(outcomes[0][0])


def read(pieces: list[bytes], small: bool) -> tuple[Request | str | None, bytes, bool]:
    """Return a request, or what is wrong; what lies behind it; and whether it is HTTP."""
    reader, rest = RequestReader(), b""
    result: Request | str | None = None
    try:
        with limits(small):
            for number, piece in enumerate(pieces, 1):
                head = reader.receive_data(piece)
                if head is not None:
                    check_sizes(head)
                    rest = reader.leftover + b"".join(pieces[number:])
                    result = Request.parse(head)
                    break
            else:
                result = str(reader.eof())
    except InvalidHandshake as exc:
        check_error(exc)
        # It may name what had arrived of a line, which depends on how it was cut.
        result = type(exc).__name__
        check_answer(HANDSHAKE.refuse(exc, date=DATE))
        assert log_label(exc)
    return result, rest, reader.looks_like_http


def check_request(request: Request) -> None:
    """A request that was understood is sent as it was meant, and gets one answer."""
    assert Request.parse(request.serialize()) == request
    try:
        accepted = HANDSHAKE.accept(request, date=DATE)
    except InvalidHandshake as exc:
        check_error(exc)
        check_answer(HANDSHAKE.refuse(exc, date=DATE))
        assert log_label(exc)
    else:
        check_answer(accepted.response)


def check_answer(response: Response) -> None:
    """Nothing in a request makes the answer another than it was meant to be."""
    reader = ResponseReader()
    read = reader.receive_data(response.serialize())
    assert read == response
    assert not reader.leftover
