"""Connections in the background: their hub runs in a native thread of its own."""

from __future__ import annotations

import contextlib
import functools
import ssl
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Literal, Self, overload

from gevent import getcurrent

from geventws.core.exceptions import ConcurrencyError
from geventws.core.frames import CloseCode
from geventws.core.headers import Headers
from geventws.core.http11 import Request, Response
from geventws.core.states import State
from geventws.net.calls import HubGone, call
from geventws.net.connection import Connection
from geventws.net.feeding import Feed
from geventws.net.hub_thread import HubThread, shared_thread
from geventws.net.logs import ConnectionLogger
from geventws.net.pings import Ping
from geventws.net.receiving import Messages, decoded
from geventws.net.sending import Data

__all__ = ["BackgroundConnection", "connect_in_background"]


class BackgroundPing:
    """A ping of a connection in the background; `wait` for its pong in any thread."""

    def __init__(self, thread: HubThread, ping: Ping) -> None:
        self._thread = thread
        self._ping = ping

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the pong, as `geventws.net.pings.Ping.wait` does."""
        answered: bool = self._thread.run(self._ping.wait, (timeout,))
        return answered

    def is_set(self) -> bool:
        """Whether the pong arrived."""
        return self._ping.is_set()

    @property
    def latency(self) -> float | None:
        """Seconds between ping and pong; None before the pong."""
        return self._ping.latency


class BackgroundConnection:
    """A WebSocket connection whose hub runs in a native thread, not in the caller's.

    Made by ``geventws.connect(..., background=True)``. It has the methods of `Connection`,
    and they may be called from any native thread, from several at once, and from greenlets.
    Pings are answered and messages arrive whatever these threads do.
    """

    def __init__(self, thread: HubThread, connection: Connection) -> None:
        self._thread = thread
        # What does all the work.
        self._connection = connection
        # The greenlets, of any threads, whose iterables are being sent.
        self._feeders: list[Any] = []

    # Receiving.

    @overload
    def recv(self, timeout: float | None = None, decode: None = None) -> str | bytes: ...
    @overload
    def recv(self, timeout: float | None = None, *, decode: Literal[True]) -> str: ...
    @overload
    def recv(self, timeout: float | None = None, *, decode: Literal[False]) -> bytes: ...
    @overload
    def recv(self, timeout: float | None, decode: Literal[True]) -> str: ...
    @overload
    def recv(self, timeout: float | None, decode: Literal[False]) -> bytes: ...
    @overload
    def recv(self, timeout: float | None = None, decode: bool | None = None) -> str | bytes: ...

    def recv(self, timeout: float | None = None, decode: bool | None = None) -> str | bytes:
        """Receive the next message, as `Connection.recv` does.

        Ctrl-C during the wait loses nothing, and neither does a `gevent.Timeout`.
        """
        connection = self._connection
        message: str | bytes = self._thread.run(connection.recv, (timeout,), connection._put_back)
        return message if decode is None else decoded(message, decode)

    def recv_streaming(self, decode: bool | None = None) -> Iterator[str | bytes]:
        """Receive the next message in fragments, as `Connection.recv_streaming` does."""
        fragments = self._connection.recv_streaming(decode)
        try:
            while (fragment := self._thread.run(next, (fragments, None))) is not None:
                yield fragment
        finally:
            self._thread.run(fragments.close)  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[str | bytes]:
        """Iterate over messages until the connection closes normally."""
        return Messages(self)

    # Sending.

    def send(
        self,
        message: Data | Iterable[Data],
        text: bool | None = None,
        *,
        compress: bool | None = None,
    ) -> None:
        """Send a message, as `Connection.send` does; iterables run in the calling thread."""
        if self._feeders and self._connection._fragmenting and getcurrent() in self._feeders:
            raise ConcurrencyError("cannot call send from the iterable that is being sent")
        if isinstance(message, Data):
            self._connection.send_threadsafe(message, text=text, compress=compress)
        elif isinstance(message, Iterable) and not isinstance(message, Mapping):
            self._send_fragments(message, text, compress)
        else:
            # It knows what is wrong with it.
            self._thread.run(self._connection.send, (message, text))

    def send_threadsafe(
        self,
        message: Data,
        timeout: float | None = None,
        *,
        text: bool | None = None,
        compress: bool | None = None,
    ) -> None:
        """Send a message in time, as `Connection.send_threadsafe` does."""
        self._connection.send_threadsafe(message, timeout, text=text, compress=compress)

    def _send_fragments(
        self, fragments: Iterable[Data], text: bool | None, compress: bool | None
    ) -> None:
        run, send = self._thread.run, self._connection.send
        feed = Feed(self._thread.mailbox, lambda feed: send(feed, text, compress=compress))
        current = getcurrent()
        try:
            call(self._thread.mailbox, feed.start)
            self._feeders.append(current)
            for fragment in fragments:
                run(feed.give, (fragment,))
            run(feed.end)
        except HubGone:
            # It knows what to say after the connection's end.
            run(send, (fragments, text))
        except BaseException:
            run(feed.stop)
            raise
        finally:
            if current in self._feeders:
                self._feeders.remove(current)

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Join what is sent inside a ``with`` block, as `Connection.batch` does.

        What other threads send meanwhile is joined, too.
        """
        batch = self._connection.batch()
        self._thread.run(batch.__enter__)
        try:
            yield
        finally:
            self._thread.run(batch.__exit__, (None, None, None))

    def ping(self, data: Data | None = None, *, ack_on_close: bool = False) -> BackgroundPing:
        """Send a ping, as `Connection.ping` does."""
        ping = functools.partial(self._connection.ping, data, ack_on_close=ack_on_close)
        return BackgroundPing(self._thread, self._thread.run(ping))

    def pong(self, data: Data = b"") -> None:
        """Send a pong that answers no ping, as `Connection.pong` does."""
        self._thread.run(self._connection.pong, (data,))

    # Closing.

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Close the connection, as `Connection.close` does; with the last its thread ends."""
        self._thread.run(self._connection.close, (code, reason))

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until the connection is closed, as `Connection.wait_closed` does."""
        closed: bool = self._thread.run(self._connection.wait_closed, (timeout,))
        return closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close with 1000, after an exception with 1011."""
        self._thread.run(self._connection.__exit__, (exc_type, exc, traceback))

    # What is known of the connection.

    @property
    def id(self) -> uuid.UUID:
        """A unique identifier, for logs."""
        return self._connection.id

    @property
    def logger(self) -> ConnectionLogger:
        """The connection's logger."""
        return self._connection.logger

    @property
    def state(self) -> State:
        """Where the connection is in its life."""
        return self._connection.state

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that was negotiated, or None."""
        return self._connection.subprotocol

    @property
    def latency(self) -> float:
        """Seconds between the last ping and its pong; 0 before the first pong."""
        return self._connection.latency

    @property
    def close_code(self) -> int | None:
        """The close code, as `Connection.close_code`."""
        return self._connection.close_code

    @property
    def close_reason(self) -> str | None:
        """The close reason, as `Connection.close_reason`."""
        return self._connection.close_reason

    @property
    def request(self) -> Request | None:
        """The opening handshake's request."""
        return self._connection.request

    @property
    def response(self) -> Response | None:
        """The opening handshake's response."""
        return self._connection.response

    @property
    def ssl_object(self) -> ssl.SSLObject | None:
        """The connection's TLS, as `Connection.ssl_object`."""
        return self._connection.ssl_object

    @property
    def path(self) -> str | None:
        """The request's path with its query."""
        return self._connection.path

    @property
    def request_headers(self) -> Headers | None:
        """The request's headers."""
        return self._connection.request_headers

    @property
    def response_headers(self) -> Headers | None:
        """The response's headers."""
        return self._connection.response_headers

    @property
    def local_address(self) -> Any:
        """This end's address."""
        return self._connection.local_address

    @property
    def remote_address(self) -> Any:
        """The peer's address."""
        return self._connection.remote_address

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.state.name} {self.remote_address}>"


def connect_in_background(connect: Callable[[], Connection]) -> BackgroundConnection:
    """Open a connection in the background.

    Args:
        connect: opens it; called in a greenlet of the background's hub.
    """
    while True:
        thread = shared_thread()
        # If not, the thread ended at this moment, with the last of its connections.
        with contextlib.suppress(HubGone):
            return BackgroundConnection(thread, thread.open(connect))
