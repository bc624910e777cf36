"""The peers of the interoperability tests: `websockets`, by threads and by asyncio.

Both block where gevent would switch. So each call is made in a native thread; where the run
is patched, a greenlet does, because everything they use is gevent's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import ssl
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gevent
import gevent.event
import websockets.asyncio.client
import websockets.asyncio.server
import websockets.sync.client
import websockets.sync.server
from gevent.queue import Queue

import geventws

PATCHED = os.environ.get("GEVENTWS_TEST_PATCH") == "1"

# Seconds for any one step; each takes milliseconds.
TIMEOUT = 10

# What every peer echoes: lengths of all sizes, on both sides of where they grow.
MESSAGES: list[str | bytes] = [
    "",
    b"",
    "Hello!",
    b"\x00\xff",
    "Grüße, 世界 🌍",
    "x" * 125,
    b"x" * 126,
    "x" * 65535,
    b"x" * 65536,
    # Compressed it grows, and must not grow over `max_size`.
    os.urandom(10**6),
    "MiB!" * 2**18,
]


def natively(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function that blocks; return what it returns, raise what it raises."""
    return in_background(function, *args, **kwargs).get(timeout=TIMEOUT)


def in_background(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Start a function that blocks; the result has `get`."""
    result = gevent.event.AsyncResult()

    def call() -> Callable[[], Any]:
        # gevent would print the exceptions of its threads.
        try:
            value = function(*args, **kwargs)
        except BaseException as exc:
            error = exc
            return lambda: result.set_exception(error)
        return lambda: result.set(value)

    def wait() -> None:
        (call if PATCHED else lambda: gevent.get_hub().threadpool.apply(call))()()

    gevent.spawn(wait)
    return result


class Link(NamedTuple):
    """How two peers reach each other: by TCP or a Unix socket, with TLS or not."""

    path: str | None = None
    server_ssl: ssl.SSLContext | None = None
    client_ssl: ssl.SSLContext | None = None
    # The path in the URI.
    resource: str = "/"

    def uri(self, port: int) -> str:
        """The URI of a server, for this link's clients."""
        scheme = "ws" if self.client_ssl is None else "wss"
        return f"{scheme}://127.0.0.1:{port}{self.resource}"

    def serve(self, handler: Callable[[Any], object], **options: Any) -> geventws.Server:
        """Make our server."""
        if self.path:
            return geventws.unix_serve(handler, self.path, ssl=self.server_ssl, **options)
        return geventws.serve(handler, "127.0.0.1", 0, ssl=self.server_ssl, **options)

    def connect(self, port: int, **options: Any) -> geventws.ClientConnection:
        """Make our client."""
        connect = geventws.unix_connect if self.path else geventws.connect
        if self.path:
            options["path"] = self.path
        return connect(uri=self.uri(port), ssl=self.client_ssl, **options)


TCP = Link()


class Peer:
    """One end of a connection of `websockets.sync`, called from greenlets."""

    def __init__(self, ws: Any) -> None:
        self.ws = ws

    def _call(self, name: str, *args: Any) -> Any:
        return natively(getattr(self.ws, name), *args)

    def send(self, message: Any) -> None:
        """Send a message, fragmented if it is a list."""
        self._call("send", message)

    def recv(self) -> Any:
        """Receive a message."""
        return self._call("recv")

    def recv_fragments(self) -> list[Any]:
        """Receive a message as it was cut."""
        return natively(lambda: list(self.ws.recv_streaming()))

    def ping(self) -> None:
        """Send a ping and wait for its pong."""
        assert natively(self._call("ping").wait, TIMEOUT)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection."""
        self._call("close", code, reason)

    def wait_closed(self) -> tuple[int, str]:
        """Wait until the connection is closed; return the code and reason received."""
        self._call("wait_closed")
        return self.ws.close_code, self.ws.close_reason


class Sync:
    """`websockets.sync`."""

    def __init__(self) -> None:
        self.closed = False

    def connect(self, link: Link, port: int, **options: Any) -> Peer:
        """Connect to our server."""
        if link.path:
            connect = websockets.sync.client.unix_connect
            options["path"] = link.path
        else:
            connect = websockets.sync.client.connect
            options["proxy"] = None
        # It warns if it is not used as a context manager.
        return Peer(
            natively(
                lambda: connect(uri=link.uri(port), ssl=link.client_ssl, **options).__enter__()
            )
        )

    @contextlib.contextmanager
    def serve(self, link: Link, **options: Any) -> Iterator[ForeignServer]:
        """Run a server for our clients."""
        foreign = ForeignServer()

        def handler(ws: Any) -> None:
            foreign.accepted.put(Peer(ws))
            ws.wait_closed()

        if link.path:
            serve, where = websockets.sync.server.unix_serve, (link.path,)
        else:
            serve, where = websockets.sync.server.serve, ("127.0.0.1", 0)
        server = natively(serve, handler, *where, ssl=link.server_ssl, **options)
        running = in_background(server.serve_forever)
        if not link.path:
            foreign.port = server.socket.getsockname()[1]
        foreign.stop = lambda: natively(server.shutdown)
        try:
            yield foreign
        finally:
            foreign.stop()
            running.get(timeout=TIMEOUT)

    def close(self) -> None:
        """There is nothing to close."""


class ForeignServer:
    """A server of either kind."""

    def __init__(self) -> None:
        # On a Unix socket, what the URI says.
        self.port = 80
        # Ends it.
        self.stop: Callable[[], object] = lambda: None
        # Connections come from another thread.
        self.accepted: queue.SimpleQueue[Peer] = queue.SimpleQueue()

    def accept(self) -> Peer:
        """Wait for the next connection."""
        return natively(self.accepted.get, timeout=TIMEOUT)


class AsyncioPeer(Peer):
    """One end of a connection of `websockets.asyncio`, called from greenlets."""

    def __init__(self, ws: Any, library: Asyncio) -> None:
        super().__init__(ws)
        self.library = library

    def _call(self, name: str, *args: Any) -> Any:
        return self.library.run(getattr(self.ws, name)(*args))

    def recv_fragments(self) -> list[Any]:
        async def receive() -> list[Any]:
            return [fragment async for fragment in self.ws.recv_streaming()]

        return self.library.run(receive())

    def ping(self) -> None:
        async def ping() -> None:
            await (await self.ws.ping())

        self.library.run(ping())


class Asyncio:
    """`websockets.asyncio`, on a loop of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.running = in_background(self.loop.run_forever)

    def run(self, coroutine: Any) -> Any:
        """Run a coroutine on the loop; return its result."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        return natively(future.result, TIMEOUT)

    def connect(self, link: Link, port: int, **options: Any) -> Peer:
        """Connect to our server."""

        async def connect() -> Any:
            if link.path:
                connecting = websockets.asyncio.client.unix_connect(
                    link.path, link.uri(port), ssl=link.client_ssl, **options
                )
            else:
                connecting = websockets.asyncio.client.connect(
                    link.uri(port), ssl=link.client_ssl, proxy=None, **options
                )
            return await connecting

        return AsyncioPeer(self.run(connect()), self)

    @contextlib.contextmanager
    def serve(self, link: Link, **options: Any) -> Iterator[ForeignServer]:
        """Run a server for our clients."""
        foreign = ForeignServer()

        async def handler(ws: Any) -> None:
            foreign.accepted.put(AsyncioPeer(ws, self))
            await ws.wait_closed()

        async def start() -> Any:
            if link.path:
                return await websockets.asyncio.server.unix_serve(
                    handler, link.path, ssl=link.server_ssl, **options
                )
            return await websockets.asyncio.server.serve(
                handler, "127.0.0.1", 0, ssl=link.server_ssl, **options
            )

        async def stop() -> None:
            server.close()
            await server.wait_closed()

        server = self.run(start())
        if not link.path:
            foreign.port = server.sockets[0].getsockname()[1]
        foreign.stop = lambda: self.run(stop())
        try:
            yield foreign
        finally:
            foreign.stop()

    def close(self) -> None:
        """End the loop."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.running.get(timeout=TIMEOUT)
        self.loop.close()


LIBRARIES = {"sync": Sync, "asyncio": Asyncio}


@contextlib.contextmanager
def connected(
    library: Any,
    role: str,
    link: Link = TCP,
    ours: dict[str, Any] | None = None,
    theirs: dict[str, Any] | None = None,
) -> Iterator[tuple[Any, Peer]]:
    """Open a connection between us and a foreign library; yield both its ends.

    Args:
        library: the foreign library.
        role: what geventws is, "server" or "client".
        link: how they reach each other.
        ours: options of our end.
        theirs: options of the foreign end.
    """
    ours, theirs = ours or {}, theirs or {}
    if role == "client":
        with library.serve(link, **theirs) as server, link.connect(server.port, **ours) as ws:
            yield ws, server.accept()
        return
    accepted: Queue[Any] = Queue()

    def handler(ws: Any) -> None:
        accepted.put(ws)
        ws.wait_closed()

    with link.serve(handler, **ours) as server:
        port = 80 if link.path else server.address[1]
        peer = library.connect(link, port, **theirs)
        try:
            yield accepted.get(timeout=TIMEOUT), peer
        finally:
            peer.close()
