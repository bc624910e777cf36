"""Real connections for tests: a server for a moment, and both ends of one connection."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Self

from gevent import socket
from gevent.event import Event
from gevent.queue import Queue

from geventws.net.client import connect
from geventws.net.client_connection import ClientConnection
from geventws.net.hubs import get_hub_state
from geventws.net.serve import serve
from geventws.net.server_connection import ServerConnection
from geventws.net.server_opening import Handler
from geventws.net.transport import own_socket

__all__ = ["ADDRESS", "RunningServer", "connection_pair"]

# Whose peer a connection in memory is: handlers may ask for host and port.
ADDRESS = ("127.0.0.1", 0)


class RunningServer:
    """A server on a free port of this machine, for as long as a test takes.

    ::

        with RunningServer(echo) as server:
            with server.connect("/path") as ws:
                ws.send("Hello!")
                assert ws.recv() == "Hello!"

    Args:
        handler: called with each connection.
        options: as for `geventws.serve`.

    Raises:
        OSError: it cannot listen.
    """

    def __init__(self, handler: Handler, **options: Any) -> None:
        # The server itself.
        self.server = serve(handler, ADDRESS[0], 0, **options)
        # Its address as a URI, without a path.
        self.uri = f"{'ws' if options.get('ssl') is None else 'wss'}://localhost:{self.port}"
        self.server.start()

    @property
    def port(self) -> int:
        """The port number where it listens."""
        return int(self.server.address[1])

    def connect(self, path: str = "/", **options: Any) -> ClientConnection:
        """Connect to it.

        Args:
            path: the path, and the query, of the URI.
            options: as for `geventws.connect`.

        Raises:
            As `geventws.connect`.
        """
        return connect(self.uri + path, **options)

    def close(self) -> None:
        """Shut the server down; handlers that still run after a second are killed."""
        self.server.shutdown(timeout=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


@contextlib.contextmanager
def connection_pair(
    path: str = "/",
    *,
    client: Mapping[str, Any] | None = None,
    server: Mapping[str, Any] | None = None,
) -> Iterator[tuple[ClientConnection, ServerConnection]]:
    """Give both ends of one connection, in memory: no port, no network.

    ::

        with connection_pair() as (client, server):
            client.send("Hello!")
            assert server.recv() == "Hello!"

    They have done the opening handshake, and are closed at the end of the ``with`` block.

    Args:
        path: the path, and the query, that the client asks for.
        client: options as for `geventws.connect`.
        server: options as for `geventws.serve`, but for where to listen.

    Raises:
        InvalidHandshake: the options do not fit together.
    """
    accepted: Queue[ServerConnection] = Queue()
    done = Event()

    def hold(ws: ServerConnection) -> None:
        accepted.put(ws)
        done.wait()

    # It never listens: it is given its only connection.
    owner = serve(hold, sock=socket.socket(), **(server or {}))
    owner._state = get_hub_state()
    ours, theirs = socket.socketpair()
    owner._accepted(own_socket(theirs), ADDRESS)
    try:
        with connect(f"ws://localhost{path}", sock=ours, **(client or {})) as ws:
            try:
                yield ws, accepted.get()
            finally:
                done.set()
    finally:
        done.set()
        owner.shutdown(timeout=1)
