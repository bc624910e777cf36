"""Tunnels through SOCKS proxies (RFC 1928), by python-socks' parts without I/O."""

from __future__ import annotations

from typing import Any

from geventws.core.exceptions import ProxyError
from geventws.core.proxies import Proxy
from geventws.net.conversation import Conversation
from geventws.net.tcp import resolve

__all__ = ["open_socks_tunnel"]


class Resolver:
    """What python-socks asks for addresses where the proxy must not look them up."""

    def resolve(self, host: str, port: int = 0, family: int = 0) -> tuple[int, str]:
        """Return the family and the text of a host's first address."""
        found, _, _, _, address = resolve(host, port, family)[0]
        return found, address[0]


def _connector(proxy: Proxy) -> Any:
    """Return the half of the protocol that python-socks knows.

    Raises:
        ImportError: it is not installed.
    """
    try:
        from python_socks import ProxyType
        from python_socks._connectors.factory_sync import create_connector
    except ImportError as exc:
        raise ImportError(
            "connecting through a SOCKS proxy requires python-socks; "
            "install it with: pip install geventws[socks]"
        ) from exc
    return create_connector(
        ProxyType.SOCKS4 if proxy.scheme.startswith("socks4") else ProxyType.SOCKS5,
        proxy.username,
        proxy.password,
        proxy.scheme in ("socks5h", "socks4a"),
        Resolver(),  # type: ignore[arg-type]
    )


def open_socks_tunnel(conversation: Conversation, proxy: Proxy, host: str, port: int) -> None:
    """Ask a SOCKS proxy for a tunnel.

    Args:
        conversation: with the proxy.
        proxy: its scheme says which protocol, and who looks up the host.
        host: where the tunnel is to lead.
        port: the port there.

    Raises:
        ProxyError: the proxy refused, or does not speak SOCKS; the cause tells.
        OSError: the connection to the proxy is lost, or the host is not known.
        ImportError: python-socks is not installed.
    """
    connector = _connector(proxy)
    try:
        connector.connect(conversation, host, port)
        if not conversation.silent:
            raise ValueError("the proxy sent data in front of the server's")
    except OSError:
        raise
    except Exception as exc:
        raise ProxyError("failed to connect to SOCKS proxy") from exc
