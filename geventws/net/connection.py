"""Connection: what an application has in its hands."""

from __future__ import annotations

import contextlib
import functools
import ssl
import uuid
from types import TracebackType
from typing import Any, Self

from gevent import GreenletExit

from geventws.core.frames import CloseCode
from geventws.core.headers import Headers
from geventws.core.http11 import Request, Response
from geventws.core.states import State
from geventws.net.calls import HubGone, call
from geventws.net.logs import ConnectionLogger
from geventws.net.sending import Data, Sender

__all__ = ["Connection"]


class Connection(Sender):
    """A WebSocket connection, of a client or a server.

    One greenlet at a time may receive; any number may send. Messages that arrived before
    the connection closed stay readable after it. Get connections from `geventws.connect`
    or `geventws.serve`; attributes of your own may be set on them.
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_id",
        "_local_address",
        "_remote_address",
        "_request",
        "_response",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Raw heads until somebody asks: a browser's headers are 0.4 KiB raw, 2 KiB parsed.
        self._request: bytes | Request | None = None
        self._response: bytes | Response | None = None
        self._id: uuid.UUID | None = None
        # Kept for log lines after the end.
        self._local_address: Any = None
        self._remote_address: Any = None

    # Sending from other threads.

    def send_threadsafe(
        self,
        message: Data,
        timeout: float | None = None,
        *,
        text: bool | None = None,
        compress: bool | None = None,
    ) -> None:
        """Send a message from another thread than the connection's.

        It waits until the connection's thread has handed the message over, which that does
        the next time it waits in gevent; above ``write_limit`` it waits for room. A caller
        whose own thread has a hub lets its other greenlets go on meanwhile.

        Args:
            message: as for `send`, but not in fragments.
            timeout: how long to wait, in seconds; None waits for as long as the connection
                lasts.
            text: as for `send`.
            compress: as for `send`.

        Raises:
            ConnectionClosed: the connection is closed or closing.
            TimeoutError: the message could not be handed over in time. It is not sent, and may
                be sent again.
            TypeError: the message is of another type.
        """
        if not isinstance(message, Data):
            raise TypeError("data must be str or bytes; send fragments in the connection's thread")
        send = functools.partial(self.send, message, text, compress=compress)
        with contextlib.suppress(HubGone):
            call(self._state.mailbox, send, prepare=self._wait_to_send, timeout=timeout)
            return
        # The hub goes with the last of its connections.
        raise self._closed_exception()

    # Closing.

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Close the connection: do the closing handshake, then close TCP.

        It waits until the connection is closed, at most ``close_timeout`` seconds. It may be
        called again. When the wait is interrupted, by a timeout or a kill, closing goes on.

        Args:
            code: the close code (RFC 6455, section 7.4).
            reason: at most 123 bytes of UTF-8.

        Raises:
            ProtocolError: the code may not be sent, or the reason is too long; the
                connection stays open.
        """
        self._require_thread()
        self._begin_close(code, reason)
        self._wait_ended()
        self._state.release()

    def _begin_close(self, code: int, reason: str = "") -> None:
        """Send a close frame, unless one was sent; the rest happens by itself."""
        if self._broken or self._protocol.state is State.CONNECTING:
            self._lost()
        elif self._protocol.state is State.OPEN:
            if self._fragmenting is not None:
                self._protocol.fail(CloseCode.INTERNAL_ERROR, "close during fragmented message")
            else:
                self._protocol.send_close(code, reason)
            self._settle()
        self._emit()

    def _say_goodbye(self, code: int, reason: str) -> None:
        """Send a close frame, behind the message that is being sent in fragments, if any."""
        if self._fragmenting is not None and self.state is State.OPEN:
            self._goodbye = code, reason
        else:
            self._begin_close(code, reason)

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until the connection is closed, whoever closes it.

        Args:
            timeout: in seconds; None waits for as long as the connection lasts.

        Returns:
            Whether the connection is closed.
        """
        self._require_thread()
        return self._wait_ended(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close with 1000, after an exception with 1011."""
        if exc is None or isinstance(exc, GeneratorExit):
            self.close()
        elif isinstance(exc, Exception):
            self.close(CloseCode.INTERNAL_ERROR)
        else:
            # A kill or a timeout wants to be somewhere else: closing goes on without it.
            self._require_thread()
            killed = isinstance(exc, GreenletExit)
            self._begin_close(CloseCode.GOING_AWAY if killed else CloseCode.INTERNAL_ERROR)

    # What is known of the connection.

    @property
    def id(self) -> uuid.UUID:
        """A unique identifier, for logs."""
        if self._id is None:
            new = uuid.uuid4()
            # Logs may be written in another thread, which asks at the same time.
            if self._id is None:
                self._id = new
        return self._id

    @property
    def logger(self) -> ConnectionLogger:
        """The connection's logger: its records have an attribute ``websocket``."""
        return ConnectionLogger(self._logger, self)

    @property
    def state(self) -> State:
        """Where the connection is in its life."""
        return self._protocol.state

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that was negotiated, or None."""
        return self._protocol.subprotocol

    @property
    def close_code(self) -> int | None:
        """The close code received; 1005 for a close frame without one, 1006 for no close frame.

        None before the connection is closed (RFC 6455, section 7.1.5).
        """
        return self._protocol.closing.code if self.state is State.CLOSED else None

    @property
    def close_reason(self) -> str | None:
        """The close reason received, "" without one.

        None before the connection is closed (RFC 6455, section 7.1.6).
        """
        return self._protocol.closing.reason if self.state is State.CLOSED else None

    @property
    def request(self) -> Request | None:
        """The opening handshake's request; None until it is there."""
        if isinstance(self._request, bytes):
            self._request = Request.parse(self._request)
        return self._request

    @property
    def response(self) -> Response | None:
        """The opening handshake's response; None until it is there."""
        if isinstance(self._response, bytes):
            self._response = Response.parse(self._response)
        return self._response

    @property
    def path(self) -> str | None:
        """The request's path with its query; short for ``request.path``."""
        return None if self.request is None else self.request.path

    @property
    def request_headers(self) -> Headers | None:
        """The request's headers; short for ``request.headers``."""
        return None if self.request is None else self.request.headers

    @property
    def response_headers(self) -> Headers | None:
        """The response's headers; short for ``response.headers``."""
        return None if self.response is None else self.response.headers

    @property
    def local_address(self) -> Any:
        """This end's address: ``(host, port)``, for IPv6 four items, for Unix sockets a path."""
        if self._local_address is None and self.state is not State.CLOSED:
            self._local_address = self._transport.sock.getsockname()
        return self._local_address

    @property
    def remote_address(self) -> Any:
        """The peer's address, as `local_address`; known after the connection closed, too."""
        return self._remote_address

    @property
    def ssl_object(self) -> ssl.SSLObject | None:
        """The connection's TLS: the peer's certificate, version, cipher; None without TLS.

        Only look at it: its bytes are read and written by the connection. Inside of WSGI
        servers it is None, and the request's environ says what they know.
        """
        return getattr(self._transport, "tls", None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.state.name} {self.remote_address}>"
