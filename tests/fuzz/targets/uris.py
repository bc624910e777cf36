"""URIs, and the requests that they become."""

from __future__ import annotations

from geventws.core.client_handshake import ClientHandshake
from geventws.core.exceptions import InvalidURI
from geventws.core.grammar import parse_authorization_basic, parse_host
from geventws.core.http11 import Request
from geventws.core.uri import parse_uri

TOKENS = [
    b"ws://",
    b"wss://",
    b"localhost",
    b"[::1]",
    b"[fe80::1%25eth0]",
    b":8765",
    b":65536",
    b"user:password@",
    b"%40",
    b"%0a",
    b"?query",
    b"#",
    "müller.example".encode(),
    "ß".encode(),
    "\u2024".encode(),
    "\uff0f".encode(),
]


def check(data: bytes) -> None:
    """Take a URI apart; what is no UTF-8 becomes lone surrogates."""
    text = data.decode(errors="surrogateescape")
    try:
        uri = parse_uri(text)
    except InvalidURI as exc:
        assert exc.uri == text and exc.msg
        return
    assert uri.host and uri.host.isascii() and uri.host.isprintable() and " " not in uri.host
    assert 0 < uri.port < 65536
    head = ClientHandshake(uri).request().serialize()
    request = Request.parse(head)
    # The request says what the URI says, and nothing else.
    assert request.path == uri.resource_name
    host, port = parse_host(request.headers["Host"])
    assert host == uri.host.partition("%")[0] if ":" in uri.host else host == uri.host
    assert (port or (443 if uri.secure else 80)) == uri.port
    if uri.user_info is not None:
        credentials = request.headers["Authorization"]
        assert parse_authorization_basic(credentials) == uri.user_info
    # Taken apart again, it is the same.
    bracketed = f"[{uri.host.replace('%', '%25', 1)}]" if ":" in uri.host else uri.host
    scheme = "wss" if uri.secure else "ws"
    again = parse_uri(
        f"{scheme}://{bracketed}:{uri.port}{uri.path}{'?' * bool(uri.query)}{uri.query}"
    )
    assert (again.host, again.port, again.resource_name) == (uri.host, uri.port, uri.resource_name)
