"""Clients: `connect` and `unix_connect`."""

from __future__ import annotations

import functools
import logging
import os
import ssl as ssl_module
from collections.abc import Callable, Sequence
from typing import Any, Literal

from geventws.core.client_handshake import ClientHandshake
from geventws.core.deflate_negotiation import enable_client_permessage_deflate
from geventws.core.extensions import ClientExtensionFactory
from geventws.core.headers import HeadersLike
from geventws.core.redirects import Target
from geventws.net.client_connection import ClientConnection
from geventws.net.dialing import Dialer
from geventws.net.logs import LoggerLike
from geventws.net.opener import Opener
from geventws.net.options import ConnectionOptions, check_compression
from geventws.net.products import USER_AGENT
from geventws.net.proxy import Proxying

__all__ = ["connect", "unix_connect"]


def connect(
    uri: str,
    *,
    sock: Any = None,
    ssl: ssl_module.SSLContext | None = None,
    server_hostname: str | None = None,
    origin: str | None = None,
    extensions: Sequence[ClientExtensionFactory] | None = None,
    subprotocols: Sequence[str] | None = None,
    compression: str | None = "deflate",
    compress_threshold: int = 0,
    additional_headers: HeadersLike | None = None,
    user_agent_header: str | None = USER_AGENT,
    proxy: str | Literal[True] | None = True,
    proxy_ssl: ssl_module.SSLContext | None = None,
    proxy_server_hostname: str | None = None,
    open_timeout: float | None = 10,
    ping_interval: float | None = 20,
    ping_timeout: float | None = 20,
    close_timeout: float | None = 10,
    max_size: int | None | tuple[int | None, int | None] = ConnectionOptions.max_size,
    max_fragments: int | None = ConnectionOptions.max_fragments,
    max_queue: int | None | tuple[int | None, int | None] = ConnectionOptions.max_queue,
    write_limit: int | tuple[int, int] = ConnectionOptions.write_limit,
    logger: LoggerLike | None = None,
    create_connection: Callable[..., ClientConnection] | None = None,
    background: bool = False,
    **kwargs: Any,
) -> ClientConnection:
    """Connect to a WebSocket server.

    ::

        with geventws.connect("ws://localhost:8765") as ws:
            ws.send("Hello")
            print(ws.recv())

    All addresses of the host are tried, and redirects are followed, without credentials that
    were meant for another origin.

    The connection may be used with or without ``with``. Without it, call
    `Connection.close`: an open connection is not collected as garbage. At the end of a
    ``with`` block it is closed with code 1000, after an exception with 1011.

    Args:
        uri: ``ws://`` or ``wss://`` URI; ``user:password@`` logs in by HTTP Basic.
        sock: a connected socket to use instead of making one; before TLS. The connection
            closes it.
        ssl: TLS configuration, gevent's or the standard library's; for ``wss://`` the
            system's certificates are trusted by default.
        server_hostname: whom the certificate must name, the URI's host by default.
        origin: value of the ``Origin`` header.
        extensions: extensions to offer beside compression, the preferred first.
        subprotocols: subprotocols to offer, the preferred first.
        compression: "deflate" offers ``permessage-deflate``; None does not.
        compress_threshold: bytes below which messages are sent uncompressed.
        additional_headers: headers to add to the request.
        user_agent_header: value of the ``User-Agent`` header; None leaves it out.
        proxy: the URL of a proxy, ``http://``, ``https://``, ``socks5h://``, ``socks5://``,
            ``socks4a://`` or ``socks4://``. True takes what the environment, or the system,
            says; None connects directly.
        proxy_ssl: TLS configuration for an ``https://`` proxy; the system's certificates are
            trusted by default.
        proxy_server_hostname: whom that proxy's certificate must name, its host by default.
        open_timeout: seconds for all of it: DNS, TCP, proxy, TLS, the opening handshake, and
            redirects; None waits for ever.
        ping_interval: seconds between pings that keep the connection alive; None sends none.
        ping_timeout: seconds to wait for a pong before closing with 1011; None waits for
            ever.
        close_timeout: seconds to wait for the peer in the closing handshake.
        max_size: largest message in bytes; a pair limits messages and fragments; None is no
            limit.
        max_fragments: most fragments of a message.
        max_queue: received frames that may wait to be read before reading pauses; a pair
            gives high and low.
        write_limit: bytes that may wait to be written before `send` waits; a pair gives high
            and low.
        logger: where to log, `logging.getLogger("geventws.client")` by default.
        create_connection: makes the connection: a subclass of `ClientConnection`, or a
            function with the same arguments.
        background: runs the connection's hub in a native thread, so that pings are answered
            and messages arrive while the caller does something else than waiting in gevent.
            What is returned is a `BackgroundConnection` then: it has the same methods, and any
            native thread may call them.
        kwargs: as for `socket.create_connection`: ``source_address``, ``all_errors``, and
            ``timeout``, seconds for DNS and TCP alone; and ``address``, a pair of host and
            port to connect to instead of the URI's, without a proxy.

    Raises:
        InvalidURI: the URI, or one that it redirects to, is not valid.
        InvalidProxy: the proxy's URL is not valid.
        InvalidHandshake: the server did not accept. `ProxyError`: the proxy did not.
            `SecurityError`: there are too many redirects, or one gives up TLS.
        TimeoutError: it took longer than ``open_timeout``.
        OSError: DNS, TCP, or TLS failed.
        ImportError: a SOCKS proxy needs python-socks: ``pip install geventws[socks]``.
        ValueError: arguments contradict each other, or a redirect contradicts ``sock`` or
            ``address``.
    """
    target = Target.parse(uri, additional_headers or ())
    if ssl is not None and not target.uri.secure:
        raise ValueError("ssl argument is incompatible with a ws:// URI; use wss://")
    options = ConnectionOptions(
        ping_interval, ping_timeout, close_timeout, max_size, max_fragments, max_queue, write_limit
    )
    if check_compression(compression):
        extensions = enable_client_permessage_deflate(extensions, threshold=compress_threshold)
    proxying = Proxying(
        proxy=proxy,
        ssl=proxy_ssl,
        server_hostname=proxy_server_hostname,
        user_agent=user_agent_header,
    )
    opener = Opener(
        dialer=Dialer(sock, proxying, **kwargs),
        ssl=ssl,
        server_hostname=server_hostname,
        make_handshake=functools.partial(
            ClientHandshake, origin=origin, extensions=extensions, subprotocols=subprotocols
        ),
        user_agent_header=user_agent_header,
        options=options,
        create_connection=create_connection or ClientConnection,
        logger=logger or logging.getLogger("geventws.client"),
        background=background,
    )
    return opener.open(target, open_timeout)


def unix_connect(
    path: str | bytes | os.PathLike[str] | None = None,
    uri: str | None = None,
    **kwargs: Any,
) -> ClientConnection:
    """Connect to a WebSocket server on a Unix socket.

    Args:
        path: the socket's path.
        uri: URI for the opening handshake, ``ws://localhost/`` by default, with ``ssl``
            ``wss://localhost/``.
        kwargs: as for `connect`.
    """
    return connect(unix_address(path, uri, kwargs), **kwargs)


def unix_address(
    path: str | bytes | os.PathLike[str] | None, uri: str | None, kwargs: dict[str, Any]
) -> str:
    """Return the URI for the opening handshake, and put the path among `connect`'s arguments.

    Raises:
        ValueError: there is no path and no socket, or both.
    """
    if (path is None) is (kwargs.get("sock") is None):
        raise ValueError("a Unix socket needs a path, or a connected socket as sock")
    if path is not None:
        kwargs["address"] = os.fspath(path)
    if uri is not None:
        return uri
    return "ws://localhost/" if kwargs.get("ssl") is None else "wss://localhost/"
