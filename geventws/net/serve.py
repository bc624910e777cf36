"""Making servers: `serve` and `unix_serve`."""

from __future__ import annotations

import logging
import os
import re
import socket
import ssl as ssl_module
from collections.abc import Callable, Sequence
from typing import Any

from geventws.core.deflate_negotiation import enable_server_permessage_deflate
from geventws.core.extensions import ServerExtensionFactory
from geventws.core.server_handshake import ServerHandshake
from geventws.net.acceptor import BACKLOG, create_listener, create_unix_listener, remove_socket
from geventws.net.capacity import Capacity
from geventws.net.logs import LoggerLike
from geventws.net.options import ConnectionOptions, check_compression
from geventws.net.products import SERVER
from geventws.net.server import Server
from geventws.net.server_connection import ServerConnection
from geventws.net.server_opening import (
    Handler,
    HTTPGateway,
    ProcessRequest,
    ProcessResponse,
    SelectSubprotocol,
    ServerOpening,
)

__all__ = ["serve", "unix_serve"]


def serve(
    handler: Handler,
    host: str | None = None,
    port: int | None = None,
    *,
    sock: socket.socket | None = None,
    ssl: ssl_module.SSLContext | None = None,
    origins: Sequence[str | re.Pattern[str] | None] | None = None,
    extensions: Sequence[ServerExtensionFactory] | None = None,
    subprotocols: Sequence[str] | None = None,
    select_subprotocol: SelectSubprotocol | None = None,
    compression: str | None = "deflate",
    compress_threshold: int = 0,
    process_request: ProcessRequest | None = None,
    process_response: ProcessResponse | None = None,
    server_header: str | None = SERVER,
    http: Callable[..., Any] | None = None,
    max_connections: int | None = None,
    open_timeout: float | None = 10,
    ping_interval: float | None = 20,
    ping_timeout: float | None = 20,
    close_timeout: float | None = 10,
    max_size: int | None | tuple[int | None, int | None] = ConnectionOptions.max_size,
    max_fragments: int | None = ConnectionOptions.max_fragments,
    max_queue: int | None | tuple[int | None, int | None] = ConnectionOptions.max_queue,
    write_limit: int | tuple[int, int] = ConnectionOptions.write_limit,
    logger: LoggerLike | None = None,
    create_connection: Callable[..., ServerConnection] | None = None,
    **kwargs: Any,
) -> Server:
    """Make a WebSocket server that listens on a TCP socket.

    ::

        def echo(ws):
            for message in ws:
                ws.send(message)

        with geventws.serve(echo, "127.0.0.1", 8765) as server:
            server.serve_forever()

    The handler gets a `ServerConnection`, in a greenlet of its own. When it returns, the
    connection is closed with code 1000; when it raises, the error is logged and the
    connection is closed with 1011; when its greenlet is killed, with 1001.

    Args:
        handler: called with each connection.
        host: where to listen; None listens on all interfaces.
        port: port number; 0 or None chooses a free one, see `Server.address`.
        sock: a listening socket to use instead of ``host`` and ``port``.
        ssl: TLS configuration, gevent's or the standard library's.
        origins: acceptable ``Origin`` headers: strings, compiled regular expressions, and
            None if the header may be missing. None accepts all. Set it where browsers log in
            by cookies (RFC 6455, section 10.2).
        extensions: extensions to accept beside compression, the preferred first.
        subprotocols: subprotocols to accept, the preferred first.
        select_subprotocol: chooses one instead; called with the connection and what the
            client offers.
        compression: "deflate" accepts ``permessage-deflate``; None does not.
        compress_threshold: bytes below which messages are sent uncompressed.
        process_request: called with the connection and the `Request`; a `Response` that it
            returns is sent instead of a WebSocket being opened.
        process_response: called with the connection, the `Request`, and the `Response`;
            changes the response, or returns another.
        server_header: value of the ``Server`` header; None leaves it out.
        http: a WSGI application for all requests that ask for no WebSocket; the hooks above
            do not see these. None refuses them with 426.
        max_connections: connections, of any kind, that are served at the same time; further
            ones get a 503 with ``Retry-After``. None allows nine tenths of the descriptors
            that the process may open: the rest is for what the handlers open.
        open_timeout: seconds for TLS and the client's request, and with ``http`` for each
            further request; None waits for ever.
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
        logger: where to log, `logging.getLogger("geventws.server")` by default.
        create_connection: makes the connections: a subclass of `ServerConnection`, or a
            function with the same arguments.
        kwargs: for `socket.create_server`: ``family``, ``backlog``, ``reuse_port``,
            ``dualstack_ipv6``.

    Returns:
        A server that listens, and accepts once it is started: by ``with``, `Server.start`,
        or `Server.serve_forever`.

    Raises:
        OSError: it cannot listen there.
        TypeError: an argument is of the wrong type.
        ValueError: arguments contradict each other.
    """
    _check_callables(handler, http)
    options = ConnectionOptions(
        ping_interval, ping_timeout, close_timeout, max_size, max_fragments, max_queue, write_limit
    )
    if check_compression(compression):
        extensions = enable_server_permessage_deflate(extensions, threshold=compress_threshold)
    handshake = ServerHandshake(
        origins=origins,
        extensions=extensions,
        subprotocols=subprotocols,
    )
    capacity = Capacity(max_connections)
    logger = logger or logging.getLogger("geventws.server")
    sock = _listen(host, port, sock, kwargs)
    gateway = http and _make_gateway(
        http, sock.getsockname(), secure=ssl is not None, idle_timeout=open_timeout, logger=logger
    )
    return Server(
        sock,
        handler,
        opening=ServerOpening(
            handshake, select_subprotocol, process_request, process_response, server_header, gateway
        ),
        options=options,
        ssl=ssl,
        open_timeout=open_timeout,
        capacity=capacity,
        logger=logger,
        create_connection=create_connection,
    )


def _check_callables(handler: object, http: object) -> None:
    if not callable(handler):
        raise TypeError(f"the handler must be callable, not {type(handler).__name__}")
    if http is not None and not callable(http):
        raise TypeError(f"http must be a WSGI application, not {type(http).__name__}")


def _listen(
    host: str | None, port: int | None, sock: socket.socket | None, kwargs: dict[str, Any]
) -> socket.socket:
    """Return a socket that listens."""
    if sock is None:
        return create_listener(host, port, **kwargs)
    if host is not None or port is not None:
        raise ValueError("host and port are incompatible with sock")
    if kwargs:
        raise TypeError(f"unexpected arguments beside sock: {', '.join(kwargs)}")
    return sock


def _make_gateway(application: Callable[..., Any], address: Any, **options: Any) -> HTTPGateway:
    # Only here, because pywsgi takes time and memory that most servers need not spend.
    from geventws.net.http import WSGIGateway

    return WSGIGateway(application, address, **options)


def unix_serve(
    handler: Handler,
    path: str | bytes | os.PathLike[str] | None = None,
    *,
    sock: socket.socket | None = None,
    **kwargs: Any,
) -> Server:
    """Make a WebSocket server that listens on a Unix socket.

    Args:
        handler: called with each connection.
        path: the socket's path; a socket left there by a dead process is replaced.
        sock: a listening Unix socket to use instead of ``path``.
        kwargs: as for `serve`; ``backlog`` as for TCP.

    Raises:
        OSError: it cannot listen there.
        ValueError: neither or both of ``path`` and ``sock`` are given.
    """
    if (path is None) is (sock is None):
        raise ValueError("unix_serve() needs a path, or a socket as sock")
    if path is None:
        return serve(handler, sock=sock, **kwargs)
    path = os.fspath(path)
    sock = create_unix_listener(path, kwargs.pop("backlog", BACKLOG))
    try:
        server = serve(handler, sock=sock, **kwargs)
    except BaseException:
        sock.close()
        remove_socket(path)
        raise
    server.unix_path = path
    return server
