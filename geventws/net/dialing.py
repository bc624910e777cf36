"""Dialing: from a URI to a connected transport, perhaps through a proxy."""

from __future__ import annotations

from typing import Any

import gevent

from geventws.core.redirects import Target
from geventws.core.uri import WebSocketURI
from geventws.net.proxy import Proxying
from geventws.net.syscalls import DirectTransport
from geventws.net.tcp import connect_tcp, connect_unix, resolve
from geventws.net.transport import Transport, borrow_socket, set_nodelay

__all__ = ["Dialer", "Stage"]

DIRECT = Proxying()


class Stage(gevent.Timeout):
    """The deadline of opening a connection; it knows what is being done.

    Args:
        seconds: the deadline; None never strikes.
    """

    def __init__(self, seconds: float | None) -> None:
        super().__init__(seconds)
        self.doing = "connecting"


class Dialer:
    """Connects to where URIs lead.

    Args:
        sock: a connected socket to use instead.
        proxying: about proxies; they are not used with ``sock`` and ``address``.
        address: a pair of host and port to connect to instead of the URI's, or the path of a
            Unix socket.
        source_address: host and port to connect from.
        all_errors: raise an `ExceptionGroup` of all errors if no address answers.
        timeout: seconds that TCP may take.

    Raises:
        ValueError: arguments contradict each other.
    """

    def __init__(
        self,
        sock: Any = None,
        proxying: Proxying = DIRECT,
        *,
        address: tuple[str, int] | str | bytes | None = None,
        source_address: tuple[str, int] | None = None,
        all_errors: bool = False,
        timeout: float | None = None,
    ) -> None:
        unused = {"address": address, "source_address": source_address, "timeout": timeout}
        names = [name for name, value in unused.items() if value is not None]
        if sock is not None and names:
            raise ValueError(
                f"{', '.join(names)} incompatible with sock, which is connected already"
            )
        if address is not None and isinstance(proxying.proxy, str):
            raise ValueError("address incompatible with proxy, which chooses the address itself")
        self._sock = sock
        self._proxying = proxying
        self._address = address
        self._source_address = source_address
        self._all_errors = all_errors
        self._timeout = timeout

    def dial(self, uri: WebSocketURI, stage: Stage) -> Transport:
        """Return bytes to and from where a URI leads.

        Args:
            uri: whose host and port are connected to, unless there is something else.
            stage: is told what is being done.

        Raises:
            OSError: DNS or TCP failed.
            ProxyError: the proxy did not open a tunnel.
        """
        if self._sock is not None:
            return Transport(borrow_socket(self._sock))
        if isinstance(self._address, (str, bytes)):
            return DirectTransport(connect_unix(self._address))
        if self._address is not None:
            return self._connect(*self._address, stage)
        proxy = self._proxying.choose(uri)
        if proxy is None:
            return self._connect(uri.host, uri.port, stage)
        transport = self._connect(proxy.host, proxy.port, stage)
        stage.doing = f"connecting to {proxy.name}"
        return self._proxying.open_tunnel(transport, proxy, uri)

    def _connect(self, host: str, port: int, stage: Stage) -> Transport:
        with gevent.Timeout(self._timeout, TimeoutError("timed out while connecting")):
            stage.doing = f"looking up {host}"
            infos = resolve(host, port)
            stage.doing = "connecting"
            sock = connect_tcp(infos, self._source_address, self._all_errors)
        set_nodelay(sock)
        return DirectTransport(sock)

    def check_redirect(self, old: Target, new: Target) -> None:
        """Check that a redirect leads to where this can go.

        Raises:
            ValueError: it does not.
        """
        if self._sock is not None:
            raise ValueError(f"cannot follow redirect to {new.text} with a preexisting socket")
        if self._address is not None and not old.same_origin(new):
            fixed = "an explicit host and port"
            if isinstance(self._address, (str, bytes)):
                fixed = "a Unix socket"
            raise ValueError(f"cannot follow cross-origin redirect to {new.text} with {fixed}")
