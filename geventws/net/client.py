"""Clients: `connect` and `unix_connect`."""

from __future__ import annotations

import functools
import logging
import os
import ssl as ssl_module
from collections.abc import Callable, Sequence
from typing import Any

from geventws.core.client_handshake import ClientHandshake
from geventws.core.deflate_negotiation import enable_client_permessage_deflate
from geventws.core.extensions import ClientExtensionFactory
from geventws.core.headers import HeadersLike
from geventws.core.http11 import USER_AGENT
from geventws.core.uri import parse_uri
from geventws.net.client_connection import ClientConnection
from geventws.net.dialing import Dialer
from geventws.net.logs import LoggerLike
from geventws.net.opener import Opener
from geventws.net.options import ConnectionOptions, check_compression

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
        open_timeout: seconds for all of it: DNS, TCP, TLS, and the opening handshake; None
            waits for ever.
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
        kwargs: for `gevent.socket.create_connection`: ``source_address``, ``all_errors``; and
            ``address``, a pair of host and port to connect to instead of the URI's.

    Raises:
        InvalidURI: the URI is not valid.
        InvalidHandshake: the server did not accept.
        TimeoutError: it took longer than ``open_timeout``.
        OSError: DNS, TCP, or TLS failed.
        ValueError: arguments contradict each other.
    """
    ws_uri = parse_uri(uri)
    if ssl is not None and not ws_uri.secure:
        raise ValueError("ssl argument is incompatible with a ws:// URI; use wss://")
    options = ConnectionOptions(
        ping_interval, ping_timeout, close_timeout, max_size, max_fragments, max_queue, write_limit
    )
    if check_compression(compression):
        extensions = enable_client_permessage_deflate(extensions, threshold=compress_threshold)
    opener = Opener(
        dialer=Dialer(sock, **kwargs),
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
    return opener.open(ws_uri, additional_headers, open_timeout)


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
    if (path is None) is (kwargs.get("sock") is None):
        raise ValueError("unix_connect() needs a path, or a connected socket as sock")
    if uri is None:
        uri = "ws://localhost/" if kwargs.get("ssl") is None else "wss://localhost/"
    if path is not None:
        kwargs["address"] = os.fspath(path)
    return connect(uri, **kwargs)
