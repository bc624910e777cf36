"""Proxies without I/O: their URLs, and the tunnels that HTTP proxies open (RFC 9110, 9.3.6)."""

from __future__ import annotations

from dataclasses import dataclass, field

from geventws.core.exceptions import InvalidProxy, InvalidProxyMessage, InvalidProxyStatus
from geventws.core.grammar import build_authorization_basic, build_host
from geventws.core.headers import Headers
from geventws.core.http11 import Request, ResponseReader
from geventws.core.uri import WebSocketURI, host_of, split_uri, user_info_of

__all__ = ["NO_ANSWER", "Proxy", "TunnelReader", "connect_request", "parse_proxy"]

DEFAULT_PORTS = {
    "socks5h": 1080,
    "socks5": 1080,
    "socks4a": 1080,
    "socks4": 1080,
    "https": 443,
    "http": 80,
}


# What `InvalidProxyMessage` says; its cause says why.
NO_ANSWER = "did not receive a valid HTTP response from proxy"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy's URL in parts; make one with `parse_proxy`.

    Attributes:
        scheme: a key of DEFAULT_PORTS. With ``socks5h`` and ``socks4a`` the proxy looks up
            host names, with ``socks5`` and ``socks4`` we do.
        host: in lower case and ASCII; an IPv6 address has no brackets.
        port: the default port where the URL names none.
        username: percent-decoded, or None.
        password: percent-decoded, or None; there is one if there is a username.
    """

    scheme: str
    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def socks(self) -> bool:
        """Whether it speaks SOCKS, not HTTP."""
        return self.scheme.startswith("socks")

    @property
    def name(self) -> str:
        """What it is, for errors."""
        return "SOCKS proxy" if self.socks else "HTTP proxy"


def parse_proxy(url: str) -> Proxy:
    """Take a proxy's URL apart.

    Args:
        url: for instance ``http://user:password@proxy.example.com:3128``.

    Raises:
        InvalidProxy: it is not the URL of a proxy; the message says why.
    """
    try:
        return _parse(url)
    except ValueError as exc:
        raise InvalidProxy(url, str(exc)) from exc


def _parse(url: str) -> Proxy:
    parts = split_uri(url)
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError(f"scheme {parts.scheme} isn't supported")
    host = host_of(parts)
    if parts.path not in ("", "/"):
        raise ValueError("path is meaningless")
    if parts.query:
        raise ValueError("query is meaningless")
    if parts.fragment:
        raise ValueError("fragment is meaningless")
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    return Proxy(parts.scheme, host, port, *user_info_of(parts))


def connect_request(proxy: Proxy, uri: WebSocketURI, user_agent: str | None) -> Request:
    """Return the request that asks an HTTP proxy for a tunnel.

    Args:
        proxy: whose credentials it carries, if there are any.
        uri: where the tunnel is to lead.
        user_agent: value of the ``User-Agent`` header; None leaves it out.
    """
    headers = Headers()
    headers["Host"] = build_host(uri.host, uri.port, uri.secure)
    if user_agent is not None:
        headers["User-Agent"] = user_agent
    if proxy.username is not None and proxy.password is not None:
        credentials = build_authorization_basic(proxy.username, proxy.password)
        headers["Proxy-Authorization"] = credentials
    target = build_host(uri.host, uri.port, uri.secure, always_include_port=True)
    return Request(target, headers, method="CONNECT")


class TunnelReader:
    """Reads an HTTP proxy's answer to `connect_request`."""

    def __init__(self) -> None:
        self._reader = ResponseReader(proxy=True)

    def receive_data(self, data: bytes) -> bool:
        """Take bytes, ``b""`` at the end of the stream; return whether the tunnel is open.

        Raises:
            InvalidProxyStatus: the proxy refused.
            InvalidProxyMessage: this is not an answer to that request; the cause tells why.
        """
        try:
            response = self._reader.receive_data(data) if data else self._reader.receive_eof()
        except Exception as exc:
            raise InvalidProxyMessage(NO_ANSWER) from exc.__cause__ or exc
        if response is None:
            return False
        # RFC 9110, section 9.3.6: "Any 2xx (Successful) response indicates that the sender
        # [...] will switch to tunnel mode"; "Any response other than a successful response
        # indicates that the tunnel has not yet been formed."
        if not 200 <= response.status_code < 300:
            raise InvalidProxyStatus(response)
        if self._reader.leftover:
            # Servers never speak first, neither in TLS nor in HTTP: it would be taken for
            # what the server answers.
            early = ValueError("the proxy sent data in front of the server's")
            raise InvalidProxyMessage(NO_ANSWER) from early
        return True
