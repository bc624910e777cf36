"""What can go wrong: one tree of exceptions.

.. code-block:: text

    WebSocketException
    ├── ConnectionClosed                 the conversation is over
    │   ├── ConnectionClosedOK           both sides closed with 1000, 1001, or no code
    │   └── ConnectionClosedError        anything else, a lost TCP connection included
    ├── InvalidURI
    ├── InvalidProxy
    ├── InvalidHandshake                 the opening handshake failed
    │   ├── SecurityError                a limit that protects this side was exceeded
    │   │   ├── RequestLineTooLong
    │   │   ├── StatusLineTooLong
    │   │   ├── HeaderLineTooLong
    │   │   └── TooManyHeaders
    │   ├── ProxyError
    │   │   ├── InvalidProxyMessage
    │   │   └── InvalidProxyStatus
    │   ├── InvalidMessage               what arrived is not HTTP
    │   ├── InvalidMethod
    │   ├── InvalidProtocol
    │   ├── InvalidStatus                the server answered something else than 101
    │   ├── InvalidHeader
    │   │   ├── InvalidHeaderFormat
    │   │   ├── InvalidHeaderValue
    │   │   ├── InvalidOrigin
    │   │   └── InvalidUpgrade
    │   └── NegotiationError             extensions or subprotocols do not fit
    │       ├── DuplicateParameter
    │       ├── InvalidParameterName
    │       └── InvalidParameterValue
    ├── ProtocolError                    a frame that RFC 6455 forbids
    ├── PayloadTooBig                    a frame or message over ``max_size``
    ├── TooManyFragments                 a message over ``max_fragments``
    ├── InvalidState                     a call that the connection's state forbids
    └── ConcurrencyError                 two greenlets where only one may be
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from geventws.core.escaping import escape

if TYPE_CHECKING:
    # Types for annotations only: at run time this module imports nothing of ours that imports
    # anything, which is what keeps the package free of import cycles.
    class CloseLike(Protocol):
        """What `ConnectionClosed` needs of a close frame's content."""

        @property
        def code(self) -> int: ...
        @property
        def reason(self) -> str: ...


__all__ = [
    "ConcurrencyError",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "DuplicateParameter",
    "HeaderLineTooLong",
    "InvalidHandshake",
    "InvalidHeader",
    "InvalidHeaderFormat",
    "InvalidHeaderValue",
    "InvalidMessage",
    "InvalidMethod",
    "InvalidOrigin",
    "InvalidParameterName",
    "InvalidParameterValue",
    "InvalidProtocol",
    "InvalidProxy",
    "InvalidProxyMessage",
    "InvalidProxyStatus",
    "InvalidState",
    "InvalidStatus",
    "InvalidURI",
    "InvalidUpgrade",
    "NegotiationError",
    "PayloadTooBig",
    "ProtocolError",
    "ProxyError",
    "RequestLineTooLong",
    "SecurityError",
    "StatusLineTooLong",
    "TooManyFragments",
    "TooManyHeaders",
    "WebSocketException",
]


class WebSocketException(Exception):
    """Base class of every exception that geventws defines."""


class ConnectionClosed(WebSocketException):
    """The connection is closed or closing; ``__cause__`` tells why, where there is a cause.

    Args:
        rcvd: the close frame that was received, or None.
        sent: the close frame that was sent, or None.
        rcvd_then_sent: when both are there, whether the peer's came first.
    """

    def __init__(
        self, rcvd: CloseLike | None, sent: CloseLike | None, rcvd_then_sent: bool | None = None
    ) -> None:
        super().__init__(rcvd, sent, rcvd_then_sent)
        self.rcvd = rcvd
        self.sent = sent
        self.rcvd_then_sent = rcvd_then_sent

    def __str__(self) -> str:
        if self.rcvd is None:
            if self.sent is None:
                return "no close frame received or sent"
            return f"sent {self.sent}; no close frame received"
        if self.sent is None:
            return f"received {self.rcvd}; no close frame sent"
        if self.rcvd_then_sent:
            return f"received {self.rcvd}; then sent {self.sent}"
        return f"sent {self.sent}; then received {self.rcvd}"

    @property
    def code(self) -> int:
        """The close code received, or 1006 when there was none (RFC 6455, section 7.1.5)."""
        return 1006 if self.rcvd is None else self.rcvd.code

    @property
    def reason(self) -> str:
        """The close reason received, or an empty string (RFC 6455, section 7.1.6)."""
        return "" if self.rcvd is None else self.rcvd.reason


class ConnectionClosedOK(ConnectionClosed):
    """Both sides sent a close frame with code 1000 or 1001, or without a code."""


class ConnectionClosedError(ConnectionClosed):
    """The connection ended in any other way, for instance because TCP was lost."""


class InvalidURI(WebSocketException):
    """The URI is not a valid ``ws://`` or ``wss://`` URI (RFC 6455, section 3)."""

    def __init__(self, uri: str, msg: str) -> None:
        super().__init__(uri, msg)
        self.uri = uri
        self.msg = msg

    def __str__(self) -> str:
        return f"{escape(self.uri)} isn't a valid URI: {self.msg}"


class InvalidProxy(WebSocketException):
    """The URI of the proxy cannot be used."""

    def __init__(self, proxy: str, msg: str) -> None:
        super().__init__(proxy, msg)
        self.proxy = proxy
        self.msg = msg

    def __str__(self) -> str:
        return f"{escape(self.proxy)} isn't a valid proxy: {self.msg}"


class InvalidHandshake(WebSocketException):
    """The opening handshake failed (RFC 6455, section 4)."""


class SecurityError(InvalidHandshake):
    """The peer exceeded a limit that protects this side."""


class RequestLineTooLong(SecurityError):
    """The HTTP request line is longer than ``http11.MAX_LINE_LENGTH``."""


class StatusLineTooLong(SecurityError):
    """The HTTP status line is longer than ``http11.MAX_LINE_LENGTH``."""


class HeaderLineTooLong(SecurityError):
    """An HTTP header line is longer than ``http11.MAX_LINE_LENGTH``."""


class TooManyHeaders(SecurityError):
    """There are more HTTP headers than ``http11.MAX_NUM_HEADERS``."""


class ProxyError(InvalidHandshake):
    """The proxy did not open a tunnel."""


class InvalidProxyMessage(ProxyError):
    """What the proxy answered is not HTTP."""


class InvalidProxyStatus(ProxyError):
    """The proxy refused; ``response`` holds its answer."""

    def __init__(self, response: Any) -> None:
        super().__init__(response)
        self.response = response

    def __str__(self) -> str:
        return f"proxy rejected connection: HTTP {self.response.status_code:d}"


class InvalidMessage(InvalidHandshake):
    """The handshake's request or response is not well-formed HTTP/1.1; see ``__cause__``."""


class InvalidMethod(InvalidHandshake):
    """The handshake request uses another method than GET."""

    def __init__(self, method: str) -> None:
        super().__init__(method)
        self.method = method

    def __str__(self) -> str:
        return f"unsupported HTTP method: {self.method}"


class InvalidProtocol(InvalidHandshake):
    """The handshake request uses another HTTP version than 1.1."""

    def __init__(self, protocol: str) -> None:
        super().__init__(protocol)
        self.protocol = protocol

    def __str__(self) -> str:
        return f"unsupported HTTP version: {self.protocol}"


class InvalidStatus(InvalidHandshake):
    """The server answered with another status than 101; ``response`` holds its answer."""

    def __init__(self, response: Any) -> None:
        super().__init__(response)
        self.response = response

    def __str__(self) -> str:
        return f"server rejected WebSocket connection: HTTP {self.response.status_code:d}"


class InvalidHeader(InvalidHandshake):
    """A header that the handshake needs is missing or wrong.

    Args:
        name: the header's name.
        value: its value; None when it is missing, "" when it is empty.
    """

    def __init__(self, name: str, value: str | None = None) -> None:
        super().__init__(name, value)
        self.name = name
        self.value = value

    def __str__(self) -> str:
        if self.value is None:
            return f"missing {self.name} header"
        if self.value == "":
            return f"empty {self.name} header"
        return f"invalid {self.name} header: {escape(self.value)}"


class InvalidHeaderFormat(InvalidHeader):
    """A header does not follow its grammar.

    Args:
        name: the header's name.
        error: what is wrong, such as ``"expected token"``.
        header: the header's whole value.
        pos: where parsing stopped, counted in characters from 0.
    """

    def __init__(self, name: str, error: str, header: str, pos: int) -> None:
        super().__init__(name, f"{error} at {pos} in {header}")
        self.args = (name, error, header, pos)


class InvalidHeaderValue(InvalidHeader):
    """A header follows its grammar but its value is not acceptable."""


class InvalidOrigin(InvalidHeader):
    """The ``Origin`` header names an origin that the server does not accept."""

    def __init__(self, origin: str | None) -> None:
        super().__init__("Origin", origin)
        self.args = (origin,)


class InvalidUpgrade(InvalidHeader):
    """The ``Upgrade`` or ``Connection`` header does not ask for, or grant, a WebSocket."""


class NegotiationError(InvalidHandshake):
    """Extensions or subprotocols of both sides do not fit together."""


class DuplicateParameter(NegotiationError):
    """An extension parameter is there twice."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"duplicate parameter: {self.name}"


class InvalidParameterName(NegotiationError):
    """An extension parameter is not known."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"invalid parameter name: {self.name}"


class InvalidParameterValue(NegotiationError):
    """An extension parameter has a value that it cannot have."""

    def __init__(self, name: str, value: str | None) -> None:
        super().__init__(name, value)
        self.name = name
        self.value = value

    def __str__(self) -> str:
        if self.value is None:
            return f"missing value for parameter {self.name}"
        if self.value == "":
            return f"empty value for parameter {self.name}"
        return f"invalid value for parameter {self.name}: {self.value}"


class ProtocolError(WebSocketException):
    """A frame breaks RFC 6455; the connection is failed with code 1002."""


class PayloadTooBig(WebSocketException):
    """A frame or a message is over ``max_size``; the connection is failed with code 1009.

    Args:
        size: bytes that the frame announces; None when it grew too big while decompressing.
        max_size: the limit in bytes.
        current_size: bytes of the message received before this frame, if any.
    """

    def __init__(self, size: int | None, max_size: int, current_size: int | None = None) -> None:
        super().__init__(size, max_size, current_size)
        self.size = size
        self.max_size = max_size
        self.current_size = current_size

    def __str__(self) -> str:
        frame = "frame" if self.size is None else f"frame with {self.size} bytes"
        after = f" after reading {self.current_size} bytes" if self.current_size else ""
        return f"{frame}{after} exceeds limit of {self.max_size} bytes"


class TooManyFragments(WebSocketException):
    """A message has more fragments than allowed; the connection is failed with code 1009."""

    def __init__(self, max_fragments: int) -> None:
        super().__init__(max_fragments)
        self.max_fragments = max_fragments

    def __str__(self) -> str:
        return f"fragmented message exceeds limit of {self.max_fragments} frames"


class InvalidState(WebSocketException, AssertionError):
    """The connection is not in the state that the call needs."""


class ConcurrencyError(WebSocketException, RuntimeError):
    """Two greenlets do at the same time what only one may do."""
