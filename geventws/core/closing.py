"""The closing handshake's result: who closed, with which code (RFC 6455, section 7)."""

from __future__ import annotations

from geventws.core.exceptions import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    PayloadTooBig,
    ProtocolError,
    TooManyFragments,
)
from geventws.core.frames import MAX_CONTROL_PAYLOAD, OK_CLOSE_CODES, Close, CloseCode

__all__ = ["Closing", "close_for"]


class Closing:
    """The close frames of a connection, so far."""

    __slots__ = ("rcvd", "rcvd_then_sent", "sent")

    def __init__(self) -> None:
        self.rcvd: Close | None = None
        self.sent: Close | None = None
        # When both are there, whether the peer's came first.
        self.rcvd_then_sent: bool | None = None

    def receive(self, close: Close) -> None:
        """Note the peer's close frame."""
        self.rcvd = close
        if self.sent is not None:
            self.rcvd_then_sent = False

    def send(self, close: Close) -> None:
        """Note our close frame."""
        self.sent = close
        if self.rcvd is not None:
            self.rcvd_then_sent = True

    @property
    def code(self) -> int:
        """The connection's close code."""
        # 7.1.5: "If _The WebSocket Connection is Closed_ and no Close control frame was
        # received by the endpoint (such as could occur if the underlying transport connection
        # is lost), _The WebSocket Connection Close Code_ is considered to be 1006."
        return CloseCode.ABNORMAL_CLOSURE if self.rcvd is None else self.rcvd.code

    @property
    def reason(self) -> str:
        """The connection's close reason."""
        # 7.1.6: "If there is no such data in the Close control frame, _The WebSocket
        # Connection Close Reason_ is the empty string."
        return "" if self.rcvd is None else self.rcvd.reason

    def exception(self) -> ConnectionClosed:
        """Return the exception for whoever uses the connection from now on."""
        rcvd, sent = self.rcvd, self.sent
        if rcvd and sent and {rcvd.code, sent.code} <= OK_CLOSE_CODES:
            return ConnectionClosedOK(rcvd, sent, self.rcvd_then_sent)
        return ConnectionClosedError(rcvd, sent, self.rcvd_then_sent)


def close_for(exc: BaseException) -> Close:
    """Return the code and reason with which an exception fails the connection."""
    if isinstance(exc, ProtocolError):
        # An extension's text may be of any length and in any language.
        reason = str(exc).encode(errors="replace")[: MAX_CONTROL_PAYLOAD - 2]
        return Close(CloseCode.PROTOCOL_ERROR, reason.decode(errors="ignore"))
    if isinstance(exc, UnicodeDecodeError):
        return Close(CloseCode.INVALID_DATA, f"{exc.reason} at position {exc.start}")
    if isinstance(exc, PayloadTooBig):
        return Close(CloseCode.MESSAGE_TOO_BIG, str(exc))
    if isinstance(exc, TooManyFragments):
        return Close(CloseCode.MESSAGE_TOO_BIG, "too many fragments")
    return Close(CloseCode.INTERNAL_ERROR, "")
