"""URIs of servers and proxies, where redirects lead, and the requests that come of them."""

from __future__ import annotations

from geventws.core.client_handshake import ClientHandshake
from geventws.core.exceptions import InvalidProxy, InvalidURI, SecurityError
from geventws.core.grammar import parse_authorization_basic, parse_host
from geventws.core.http11 import Request
from geventws.core.proxies import connect_request, parse_proxy
from geventws.core.redirects import Target
from geventws.core.uri import WebSocketURI, parse_uri
from tests.errors import check_error

# What of the core is tried.
MODULES = ["uri", "redirects", "proxies"]

TOKENS = [
    b"ws://",
    b"wss://",
    b"http://",
    b"socks5h://",
    b"//",
    b"../",
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


# What nobody but its own server may get.
HOME = Target.parse("wss://example.com/a/b?c", {"Authorization": "Basic secret", "X-Other": "1"})


def check(data: bytes) -> None:
    """Take a URI apart; what is no UTF-8 becomes lone surrogates."""
    text = data.decode(errors="surrogateescape")
    check_uri(text)
    check_redirect(text)
    check_proxy(text)


def check_uri(text: str) -> None:
    """The URI of a server."""
    try:
        uri = parse_uri(text)
    except InvalidURI as exc:
        assert exc.uri == text
        check_error(exc)
        return
    check_request(uri)
    # Taken apart again, it is the same.
    host = f"[{uri.host.replace('%', '%25', 1)}]" if ":" in uri.host else uri.host
    query = f"?{uri.query}" if uri.query else ""
    again = parse_uri(f"{'wss' if uri.secure else 'ws'}://{host}:{uri.port}{uri.path}{query}")
    assert (again.host, again.port, again.resource_name) == (uri.host, uri.port, uri.resource_name)


def check_request(uri: WebSocketURI) -> None:
    """The request says what the URI says, and nothing else."""
    check_host(uri.host, uri.port)
    request = Request.parse(ClientHandshake(uri).request().serialize())
    assert request.path == uri.resource_name
    host, port = parse_host(request.headers["Host"])
    assert host == (uri.host.partition("%")[0] if ":" in uri.host else uri.host)
    assert (port or (443 if uri.secure else 80)) == uri.port
    if uri.user_info is not None:
        credentials = parse_authorization_basic(request.headers["Authorization"])
        # As bytes: two lone surrogates may be one character's bytes.
        assert [*map(as_bytes, credentials)] == [*map(as_bytes, uri.user_info)]


def as_bytes(text: str) -> bytes:
    """What text stands for on the wire."""
    return text.encode(errors="surrogateescape")


def check_host(host: str, port: int) -> None:
    """What is asked of DNS and of the kernel."""
    assert host and host.isascii() and host.isprintable() and " " not in host
    assert 0 < port < 65536


def check_redirect(text: str) -> None:
    """A redirect: it keeps TLS, and gives nothing away."""
    try:
        target = HOME.redirect(text)
    except (InvalidURI, SecurityError) as exc:
        check_error(exc)
        return
    check_request(target.uri)
    assert target.uri.secure
    assert "X-Other" in target.headers
    home = (target.uri.host, target.uri.port) == ("example.com", 443)
    assert ("Authorization" in target.headers) is home


def check_proxy(text: str) -> None:
    """The URL of a proxy, and what it is asked for."""
    try:
        proxy = parse_proxy(text)
    except InvalidProxy as exc:
        assert exc.proxy == text
        check_error(exc)
        return
    check_host(proxy.host, proxy.port)
    head = connect_request(proxy, HOME.uri, "agent").serialize()
    first, *others = head.split(b"\r\n")
    assert first == b"CONNECT example.com:443 HTTP/1.1"
    names = [line.partition(b":")[0] for line in others if line]
    assert names[:2] == [b"Host", b"User-Agent"]
    assert names[2:] == [b"Proxy-Authorization"] * (proxy.username is not None)
