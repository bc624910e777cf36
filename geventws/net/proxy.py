"""Proxies: which one to use, and tunnels through it."""

from __future__ import annotations

import ssl as ssl_module
import urllib.request
from dataclasses import dataclass

from geventws.core.exceptions import InvalidProxyMessage
from geventws.core.proxies import NO_ANSWER, Proxy, TunnelReader, connect_request, parse_proxy
from geventws.core.uri import WebSocketURI
from geventws.net.conversation import Conversation
from geventws.net.hubs import get_hub_state
from geventws.net.socks import open_socks_tunnel
from geventws.net.tls import TLSTransport
from geventws.net.transport import Transport

__all__ = ["Proxying", "get_proxy"]


def get_proxy(uri: WebSocketURI) -> str | None:
    """Return the URL of the proxy that the environment, or the system, wants for a URI."""
    if urllib.request.proxy_bypass(f"{uri.host}:{uri.port}"):
        return None
    proxies = urllib.request.getproxies()
    # RFC 6455, section 4.1 prefers a SOCKS5 proxy to one for HTTPS, and that to one for HTTP;
    # before them comes one for WebSockets alone.
    names = ("wss", "socks", "https") if uri.secure else ("ws", "socks", "https", "http")
    for name in names:
        if name in proxies:
            # Systems write down a SOCKS proxy with the scheme of any other.
            proxy = proxies[name]
            return proxy.replace("http://", "socks5h://", 1) if name == "socks" else proxy
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Proxying:
    """What `geventws.connect` was told about proxies.

    Attributes:
        proxy: the URL of a proxy; True asks the environment; None uses none.
        ssl: TLS configuration for an HTTPS proxy; None takes the default one.
        server_hostname: whom its certificate must name; None takes its host.
        user_agent: value of the ``User-Agent`` header; None leaves it out.

    Raises:
        InvalidProxy: ``proxy`` is not the URL of a proxy.
        ValueError: there is a TLS configuration, and nothing to use it for.
    """

    proxy: str | bool | None = None
    ssl: ssl_module.SSLContext | None = None
    server_hostname: str | None = None
    user_agent: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.proxy, str):
            # Errors now, not after the first redirect.
            self._parse(self.proxy)

    def _parse(self, url: str) -> Proxy:
        proxy = parse_proxy(url)
        if self.ssl is not None and proxy.scheme == "http":
            raise ValueError("proxy_ssl argument is incompatible with an http:// proxy")
        return proxy

    def choose(self, uri: WebSocketURI) -> Proxy | None:
        """Return the proxy for a URI; None connects to it directly."""
        url = get_proxy(uri) if self.proxy is True else self.proxy
        return self._parse(url) if isinstance(url, str) else None

    def open_tunnel(self, transport: Transport, proxy: Proxy, uri: WebSocketURI) -> Transport:
        """Ask a proxy for a tunnel to where a URI leads.

        Args:
            transport: TCP to the proxy; it is closed if this fails.
            proxy: from `choose`.
            uri: where the tunnel is to lead.

        Returns:
            Bytes through the tunnel.

        Raises:
            ProxyError: the proxy did not open a tunnel.
            OSError: the connection to the proxy is lost.
        """
        try:
            if proxy.scheme == "https":
                context = self.ssl or ssl_module.create_default_context()
                hostname = self.server_hostname or proxy.host
                transport = TLSTransport(transport, context, False, hostname)
            conversation = Conversation(transport, get_hub_state())
            if proxy.socks:
                open_socks_tunnel(conversation, proxy, uri.host, uri.port)
            else:
                conversation.handshake()
                request = connect_request(proxy, uri, self.user_agent)
                conversation.write(request.serialize())
                _read_answer(conversation)
        except BaseException:
            transport.close()
            raise
        return transport


def _read_answer(conversation: Conversation) -> None:
    """Read an HTTP proxy's answer until the tunnel is open."""
    reader = TunnelReader()
    try:
        while not reader.receive_data(conversation.read()):
            pass
    except OSError as exc:
        raise InvalidProxyMessage(NO_ANSWER) from exc
