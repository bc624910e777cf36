"""Responses, their bodies included, and what a client makes of them."""

from __future__ import annotations

from typing import Any

from geventws.core.body import body_reader
from geventws.core.client_handshake import ClientHandshake
from geventws.core.deflate_negotiation import enable_client_permessage_deflate
from geventws.core.exceptions import InvalidHandshake, ProxyError
from geventws.core.http11 import Response, ResponseReader
from geventws.core.proxies import TunnelReader
from geventws.core.uri import parse_uri
from tests.errors import check_error
from tests.fuzz.chunks import ways_to_cut
from tests.fuzz.limits import check_sizes, limits

# What of the core is tried.
MODULES = ["http11", "head", "body", "client_handshake"]

TOKENS = [
    b"HTTP/1.1 101 Switching Protocols\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"\r\n\r\n",
    b"Connection: Upgrade\r\n",
    b"Upgrade: websocket\r\n",
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
    b"Sec-WebSocket-Protocol: chat\r\n",
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=12\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"5;x=y\r\nhello\r\n0\r\n\r\n",
]

HANDSHAKE = ClientHandshake(
    parse_uri("ws://localhost/"),
    extensions=enable_client_permessage_deflate(None),
    subprotocols=["chat", "superchat"],
)
# RFC 6455, section 1.3.
HANDSHAKE.key = "dGhlIHNhbXBsZSBub25jZQ=="


def check(data: bytes) -> None:
    """Read a response: the first byte chooses the limits, the cuts, and whether a proxy sent it."""
    if not data:
        return
    proxy, small = data[0] & 1 == 1, data[0] & 0x80 != 0
    outcomes = [read(pieces, proxy, small) for pieces in ways_to_cut(data[1:], data[0] // 2 % 8)]
    assert outcomes[1:] == outcomes[:-1], outcomes
    if proxy:
        check_tunnel(data[1:])
    response = outcomes[0][0]
    if isinstance(response, Response):
        try:
            HANDSHAKE.process_response(response)
        except InvalidHandshake as exc:
            check_error(exc)


def check_tunnel(data: bytes) -> None:
    """A proxy opens the tunnel, or it is said why not."""
    reader = TunnelReader()
    try:
        assert reader.receive_data(data) or reader.receive_data(b"")
    except ProxyError as exc:
        check_error(exc)


def read(pieces: list[bytes], proxy: bool, small: bool) -> tuple[Any, bytes]:
    """Return a response, or what is wrong with it, and what lies behind it."""
    reader = ResponseReader(proxy=proxy)
    try:
        with limits(small):
            for number, piece in enumerate(pieces, 1):
                response = reader.receive_data(piece)
                if response is not None:
                    check_sizes(reader.head, response.body)
                    # What follows a body is nobody's: the connection is closed.
                    has_body = not proxy and body_reader(response.status_code, response.headers)
                    rest = b"" if has_body else b"".join(pieces[number:])
                    return response, reader.leftover + rest
            response = reader.receive_eof()
            check_sizes(reader.head, response.body)
            return response, b""
    except EOFError as exc:
        return str(exc), b""
    except InvalidHandshake as exc:
        check_error(exc)
        # It may name what had arrived of a line, which depends on how it was cut.
        return type(exc).__name__, b""
