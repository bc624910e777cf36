"""Dialing: from a URI to a connected transport."""

from __future__ import annotations

from typing import Any

import gevent
from gevent import socket

from geventws.core.uri import WebSocketURI
from geventws.net.syscalls import OwnTransport
from geventws.net.transport import Transport, borrow_socket, own_socket, set_nodelay

__all__ = ["Dialer", "Stage"]


class Stage(gevent.Timeout):
    """The deadline of opening a connection; it knows what is being done.

    Args:
        seconds: the deadline; None never strikes.
    """

    def __init__(self, seconds: float | None) -> None:
        super().__init__(seconds)
        self.doing = "connecting"


class Dialer:
    """Connects sockets to where URIs lead.

    Args:
        sock: a connected socket to use instead.
        address: a pair of host and port to connect to instead of the URI's, or the path of a
            Unix socket.
        kwargs: for `gevent.socket.create_connection`.

    Raises:
        ValueError: arguments contradict each other.
    """

    def __init__(
        self,
        sock: Any = None,
        *,
        address: tuple[str, int] | str | bytes | None = None,
        **kwargs: Any,
    ) -> None:
        if sock is not None and (address is not None or kwargs):
            names = ", ".join(["address"] * (address is not None) + list(kwargs))
            raise ValueError(f"{names} incompatible with sock, which is connected already")
        self._sock = sock
        self._address = address
        self._kwargs = kwargs

    def dial(self, uri: WebSocketURI) -> Transport:
        """Return bytes over a socket: the one given, or one connected to an address."""
        if self._sock is not None:
            return Transport(borrow_socket(self._sock))
        if isinstance(self._address, (str, bytes)):
            sock = _connect_unix(self._address)
        else:
            address = self._address or (uri.host, uri.port)
            sock = socket.create_connection(address, **self._kwargs)
        bare = own_socket(sock)
        set_nodelay(bare)
        return OwnTransport(bare)


def _connect_unix(path: str | bytes) -> Any:
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock
