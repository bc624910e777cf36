"""What applications have in ``environ["wsgi.websocket"]``."""

from __future__ import annotations

import logging
from typing import Any, NoReturn

from geventws.compat.geventwebsocket.exceptions import ProtocolError, WebSocketError
from geventws.compat.geventwebsocket.header import Header
from geventws.compat.geventwebsocket.utf8validator import Utf8Validator
from geventws.core.exceptions import ConcurrencyError, ConnectionClosed
from geventws.core.exceptions import ProtocolError as WrongFrame
from geventws.core.frames import Close, CloseCode, Opcode
from geventws.core.states import State
from geventws.net.mounted import MountedConnection

__all__ = [
    "MSG_ALREADY_CLOSED",
    "MSG_CLOSED",
    "MSG_SOCKET_DEAD",
    "Header",
    "Stream",
    "WebSocket",
]

MSG_SOCKET_DEAD = "Socket is dead"
MSG_ALREADY_CLOSED = "Connection is already closed"
MSG_CLOSED = "Connection closed"

# 5.5: control frames have at most 125 bytes; two of them are the close code.
MAX_REASON = 123


class NoApplication:
    """Stands in for an application that wants to know of errors."""

    def on_close(self, *args: Any) -> None:
        """React to an error."""


NO_APPLICATION = NoApplication()


class Stream:
    """Leads from a WebSocket to its handler; the bytes themselves are geventws' business.

    Args:
        handler: the request's `WebSocketHandler`.
    """

    __slots__ = ("handler",)

    def __init__(self, handler: Any) -> None:
        self.handler = handler

    def read(self, size: int) -> NoReturn:
        """Refuse: the connection reads its socket itself."""
        raise WebSocketError("the raw socket cannot be read; use receive() or read_message()")

    def write(self, data: Any) -> NoReturn:
        """Refuse: what is written here would get between the connection's frames."""
        raise WebSocketError("the raw socket cannot be written; use send() or send_frame()")


class WebSocket:
    """A WebSocket with the methods of gevent-websocket's, on a connection of geventws.

    One greenlet at a time may receive; any number may send.

    Args:
        environ: the request's WSGI environ.
        connection: the connection.
        handler: the request's `WebSocketHandler`.
    """

    __slots__ = ("__dict__", "__weakref__", "_done", "_environ", "connection", "handler")

    OPCODE_CONTINUATION, OPCODE_TEXT, OPCODE_BINARY = Opcode.CONT, Opcode.TEXT, Opcode.BINARY
    OPCODE_CLOSE, OPCODE_PING, OPCODE_PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG

    def __init__(
        self, environ: dict[str, Any], connection: MountedConnection, handler: Any
    ) -> None:
        # The connection, for programs that are on their way to geventws' own interface.
        self.connection = connection
        self.handler = handler
        self._environ: dict[str, Any] | None = environ
        # Whether the application closed it, or was told that it is closed.
        self._done = False

    # Receiving.

    def receive(self) -> str | bytearray | None:
        """Receive the next message.

        A `gevent.Timeout` during the wait loses nothing.

        Returns:
            `str` for a text, `bytearray` for a binary message; None when the connection was
            closed, whoever closed it and why.

        Raises:
            WebSocketError: None was returned before, or this side has closed the connection;
                or another greenlet is receiving.
        """
        if self._done:
            self._complain(MSG_ALREADY_CLOSED)
        try:
            return self.read_message()
        except WebSocketError:
            if not self._done:
                raise
            self.current_app.on_close(MSG_CLOSED)
            return None

    def read_message(self) -> str | bytearray | None:
        """Receive the next message, as `receive` does.

        Returns:
            As `receive`; None only when there was a close frame.

        Raises:
            WebSocketError: the connection was lost; or another greenlet is receiving.
        """
        try:
            message = self.connection.recv()
        except ConnectionClosed as exc:
            self._finish()
            if exc.rcvd is None and exc.sent is None:
                raise WebSocketError(MSG_CLOSED) from exc
            return None
        except ConcurrencyError as exc:
            raise WebSocketError(str(exc)) from exc
        return message if isinstance(message, str) else bytearray(message)

    def read_frame(self) -> tuple[Header, bytes]:
        """Receive the next message as one frame; arguments and errors as `read_message`."""
        message = self.read_message()
        if message is None:
            return Header(True, Opcode.CLOSE), b""
        text = isinstance(message, str)
        payload = message.encode() if isinstance(message, str) else bytes(message)
        return Header(True, Opcode.TEXT if text else Opcode.BINARY, 0, len(payload)), payload

    # Sending.

    def send(self, message: Any, binary: bool | None = None) -> None:
        """Send a message.

        Args:
            message: `str`, or anything that `bytes` takes but a number.
            binary: whether it is a binary message; None lets its type say it.

        Raises:
            WebSocketError: the connection is closed.
        """
        if binary is None:
            binary = not isinstance(message, str)
        try:
            self.send_frame(message, Opcode.BINARY if binary else Opcode.TEXT)
        except WebSocketError as exc:
            if isinstance(exc.__cause__, ConcurrencyError):
                raise
            self.current_app.on_close(MSG_SOCKET_DEAD)
            raise WebSocketError(MSG_SOCKET_DEAD) from exc

    def send_frame(self, message: Any, opcode: int) -> None:
        """Send a message, or a control frame.

        Args:
            message: the payload.
            opcode: what it is, one of the attributes ``OPCODE_*``.

        Raises:
            WebSocketError: the connection is closed.
            ProtocolError: a frame like this must not be sent.
        """
        if self._done:
            raise WebSocketError(MSG_ALREADY_CLOSED)
        try:
            self._send(to_bytes(message), opcode)
        except ConnectionClosed as exc:
            raise WebSocketError(MSG_ALREADY_CLOSED) from exc
        except WrongFrame as exc:
            raise ProtocolError(str(exc)) from exc
        except ConcurrencyError as exc:
            raise WebSocketError(str(exc)) from exc

    def _send(self, payload: bytes, opcode: int) -> None:
        connection = self.connection
        if opcode in (Opcode.TEXT, Opcode.BINARY):
            connection.send(payload, text=opcode == Opcode.TEXT)
        elif opcode == Opcode.PING:
            try:
                connection.ping(payload)
            except ConcurrencyError:
                # The last ping with this payload has no answer yet. Nobody looks at the pong.
                connection.ping()
        elif opcode == Opcode.PONG:
            connection.pong(payload)
        elif opcode == Opcode.CLOSE:
            connection._require_thread()
            connection._begin_close(*Close.parse(payload or b"\x03\xe8"))
        else:
            raise ProtocolError(f"cannot send a frame with opcode {opcode}; see OPCODE_*")

    # Closing.

    def close(self, code: Any = CloseCode.NORMAL_CLOSURE, message: Any = b"") -> None:
        """Close the connection, without waiting for the other side's answer.

        Args:
            code: the close code; where it may not be sent (RFC 6455, section 7.4), 1000 is.
            message: the close reason; what is beyond 123 bytes of UTF-8 is cut off.
        """
        if self._done:
            self.current_app.on_close(MSG_ALREADY_CLOSED)
            return
        try:
            self.connection._require_thread()
        except ConcurrencyError as exc:
            raise WebSocketError(str(exc)) from exc
        self._finish()
        self.connection._begin_close(*sendable(code, message))

    @property
    def closed(self) -> bool:
        """Whether nothing more can be sent or received."""
        return self._done or not (self.connected or self.connection._inbox.size)

    @property
    def connected(self) -> bool:
        """Whether the connection is open; when it is not, there may still be messages."""
        return self.connection.state is State.OPEN

    def _finish(self) -> None:
        self._done = True
        self._environ = None

    def _complain(self, text: str) -> NoReturn:
        self.current_app.on_close(text)
        raise WebSocketError(text)

    # What geventws does by itself; for programs that call these.

    def handle_close(self, header: Any, payload: bytes) -> None:
        """Close the connection as the payload of a close frame says."""
        try:
            close = Close.parse(payload or b"\x03\xe8")
        except WrongFrame as exc:
            raise ProtocolError(str(exc)) from exc
        self.close(*close)

    def handle_ping(self, header: Any, payload: bytes) -> None:
        """Send a pong."""
        self.send_frame(payload, Opcode.PONG)

    def handle_pong(self, header: Any, payload: bytes) -> None:
        """Do nothing."""

    def validate_utf8(self, payload: bytes) -> None:
        """Check that bytes are UTF-8; raise `UnicodeError` if not."""
        bytes(payload).decode()

    @property
    def utf8validator(self) -> Utf8Validator:
        """A new validator."""
        return Utf8Validator()

    # What is known of the WebSocket; None when it is closed.

    @property
    def environ(self) -> dict[str, Any] | None:
        """The request's WSGI environ."""
        return self._environ

    @property
    def stream(self) -> Stream | None:
        """Leads to the handler."""
        return None if self._done else Stream(self.handler)

    @property
    def raw_read(self) -> Any:
        """The stream's method ``read``."""
        return None if self._done else Stream(self.handler).read

    @property
    def raw_write(self) -> Any:
        """The stream's method ``write``."""
        return None if self._done else Stream(self.handler).write

    @property
    def origin(self) -> str | None:
        """The request's header ``Origin``."""
        return self._get("HTTP_ORIGIN")

    @property
    def protocol(self) -> str | None:
        """The subprotocols that the client offered, separated by commas."""
        return self._get("HTTP_SEC_WEBSOCKET_PROTOCOL")

    @property
    def version(self) -> str | None:
        """The version of the WebSocket protocol, ``"13"``."""
        return self._get("HTTP_SEC_WEBSOCKET_VERSION")

    @property
    def path(self) -> str | None:
        """The path of the URI."""
        return self._get("PATH_INFO")

    def _get(self, key: str) -> str | None:
        return None if self._environ is None else self._environ.get(key)

    @property
    def logger(self) -> logging.Logger:
        """The server's logger."""
        logger: logging.Logger = self.handler.logger
        return logger

    @property
    def current_app(self) -> Any:
        """What the server's application has under this name; its `on_close` gets errors."""
        application = getattr(self.handler.server, "application", None)
        return getattr(application, "current_app", NO_APPLICATION)


def to_bytes(message: Any) -> bytes:
    """Return the payload of a message."""
    if isinstance(message, str):
        return message.encode()
    if isinstance(message, int):
        raise TypeError("cannot send a number; send its text, str(number)")
    return bytes(message)


def sendable(code: Any, reason: Any) -> tuple[int, str]:
    """Make a close code and a close reason that may be sent."""
    text = reason if isinstance(reason, str) else bytes(reason or b"").decode("utf-8", "replace")
    text = text.encode()[:MAX_REASON].decode("utf-8", "ignore")
    try:
        Close(code, text).serialize()
    except (WrongFrame, AttributeError, TypeError):
        return CloseCode.NORMAL_CLOSURE, text
    return code, text
