"""The words of the protocol: Opcode, CloseCode, Frame, Close (RFC 6455, sections 5.2 and 7.4)."""

from __future__ import annotations

import enum
import os
from typing import NamedTuple

from geventws.core.escaping import escape
from geventws.core.exceptions import ProtocolError

__all__ = ["Close", "CloseCode", "Frame", "Opcode"]


class Opcode(enum.IntEnum):
    """What a frame is (RFC 6455, section 11.8)."""

    CONT, TEXT, BINARY = 0x00, 0x01, 0x02
    CLOSE, PING, PONG = 0x08, 0x09, 0x0A


# To look one up here costs a fifth of calling the enum.
_OPCODES = {int(opcode): opcode for opcode in Opcode}


class CloseCode(enum.IntEnum):
    """Why a connection is closed (RFC 6455, section 11.7, and the registry that grew from it)."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    # 1004 is reserved
    NO_STATUS_RCVD = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015


CLOSE_CODE_EXPLANATIONS: dict[int, str] = {
    CloseCode.NORMAL_CLOSURE: "OK",
    CloseCode.GOING_AWAY: "going away",
    CloseCode.PROTOCOL_ERROR: "protocol error",
    CloseCode.UNSUPPORTED_DATA: "unsupported data",
    CloseCode.NO_STATUS_RCVD: "no status received [internal]",
    CloseCode.ABNORMAL_CLOSURE: "abnormal closure [internal]",
    CloseCode.INVALID_DATA: "invalid frame payload data",
    CloseCode.POLICY_VIOLATION: "policy violation",
    CloseCode.MESSAGE_TOO_BIG: "message too big",
    CloseCode.MANDATORY_EXTENSION: "mandatory extension",
    CloseCode.INTERNAL_ERROR: "internal error",
    CloseCode.SERVICE_RESTART: "service restart",
    CloseCode.TRY_AGAIN_LATER: "try again later",
    CloseCode.BAD_GATEWAY: "bad gateway",
    CloseCode.TLS_HANDSHAKE: "TLS handshake failure [internal]",
}

# 7.4.1: 1005, 1006, and 1015 "MUST NOT be set as a status code in a Close control frame".
_INTERNAL = {CloseCode.NO_STATUS_RCVD, CloseCode.ABNORMAL_CLOSURE, CloseCode.TLS_HANDSHAKE}
EXTERNAL_CLOSE_CODES = frozenset(int(code) for code in CloseCode) - {
    int(code) for code in _INTERNAL
}

OK_CLOSE_CODES = frozenset({1000, 1001, 1005})

# Parts of a frame's first byte.
FIN = 0x80
OPCODE_BITS = 0x0F
# First bytes of frames that are whole messages.
WHOLE_TEXT = FIN | 0x01
WHOLE_BINARY = FIN | 0x02

# 5.5: "All control frames MUST have a payload length of 125 bytes or less".
MAX_CONTROL_PAYLOAD = 125

# What logs show of a payload, in characters: enough to recognize a message, while a flood
# of big ones at DEBUG cannot fill a disk.
MAX_LOG_SIZE = int(os.environ.get("GEVENTWS_MAX_LOG_SIZE", "75"))


class Frame(NamedTuple):
    """One frame (RFC 6455, section 5.2), its payload unmasked.

    ``str(frame)`` is the text of the frame in logs: the opcode, the payload, shortened to
    ``GEVENTWS_MAX_LOG_SIZE`` characters (default 75), and its size.
    """

    opcode: Opcode
    data: bytes
    fin: bool = True
    rsv1: bool = False
    rsv2: bool = False
    rsv3: bool = False

    @classmethod
    def from_head(cls, head: int, data: bytes) -> Frame:
        """Make a frame of its first byte on the wire and its payload.

        Raises:
            ValueError: the opcode is not one of `Opcode`.
        """
        opcode = _OPCODES.get(head & 0x0F)
        if opcode is None:
            opcode = Opcode(head & 0x0F)
        rsv = head & 0x40 != 0, head & 0x20 != 0, head & 0x10 != 0
        # Without the names of the fields: 0.3 us less.
        return tuple.__new__(cls, (opcode, data, head & 0x80 != 0, *rsv))

    @property
    def head(self) -> int:
        """The first byte on the wire: FIN, RSV1-3, and the opcode."""
        opcode, _, fin, rsv1, rsv2, rsv3 = self
        return fin << 7 | rsv1 << 6 | rsv2 << 5 | rsv3 << 4 | opcode

    def __str__(self) -> str:
        shown, kind = self._show()
        length = len(self.data)
        metadata = [kind, f"{length} byte{'' if length == 1 else 's'}"]
        if not self.fin:
            metadata.append("continued")
        return f"{self.opcode.name} {shown} [{', '.join(filter(None, metadata))}]"

    def _show(self) -> tuple[str, str]:
        """Return the payload for humans and its kind, "" where the opcode says it already."""
        data = bytes(self.data)
        if not data:
            return "''", ""
        if self.opcode is Opcode.CLOSE:
            try:
                return _shorten(str(Close.parse(data))), ""
            except (ProtocolError, UnicodeDecodeError):
                return _hex(data), "binary"
        text = self._text(data)
        if text is None:
            return _hex(data), "" if self.opcode is Opcode.BINARY else "binary"
        return _shorten(repr(text)), "" if self.opcode is Opcode.TEXT else "text"

    def _text(self, data: bytes) -> str | None:
        """Return data as text if a human can read it, else None."""
        if self.opcode >= Opcode.CLOSE and not data.isascii():
            return None
        # A fragment may begin and end inside a UTF-8 sequence: no reason to show hex.
        begin = 0
        while self.opcode is Opcode.CONT and begin < 3 and data[begin : begin + 1] >= b"\x80":
            if data[begin] >= 0xC0:
                break
            begin += 1
        try:
            data[begin:].decode()
        except UnicodeDecodeError as exc:
            if self.fin or exc.reason != "unexpected end of data":
                return None
        text = data.decode(errors="replace")
        return text if _is_readable(text) else None


def _is_readable(text: str) -> bool:
    """Tell whether a human can read a text."""
    # A megabyte takes 3.5 ms; character by character it took 36.
    return text.replace("\t", "").replace("\n", "").replace("\r", "").isprintable()


def _shorten(text: str) -> str:
    """Cut the middle out of a text that is longer than MAX_LOG_SIZE."""
    if len(text) <= MAX_LOG_SIZE:
        return text
    cut = max(MAX_LOG_SIZE // 3 - 1, 0)
    return f"{text[: 2 * cut]}...{text[len(text) - cut :]}"


def _hex(data: bytes) -> str:
    """Show bytes in hexadecimal, at most MAX_LOG_SIZE // 3 of them."""
    if len(data) <= MAX_LOG_SIZE // 3:
        return data.hex(" ")
    cut = max((MAX_LOG_SIZE // 3 - 1) // 3, 0)
    return f"{data[: 2 * cut].hex(' ')} ... {data[len(data) - cut :].hex(' ')}"


class Close(NamedTuple):
    """A close frame's code and reason (RFC 6455, sections 5.5.1 and 7.1.5 to 7.1.6)."""

    code: int
    reason: str

    def __str__(self) -> str:
        if 3000 <= self.code < 4000:
            explanation = "registered"
        elif 4000 <= self.code < 5000:
            explanation = "private use"
        else:
            explanation = CLOSE_CODE_EXPLANATIONS.get(self.code, "unknown")
        return f"{self.code} ({explanation}) {escape(self.reason)}".rstrip()

    @classmethod
    def parse(cls, data: bytes) -> Close:
        """Read a close frame's payload; an empty one stands for code 1005.

        Raises:
            ProtocolError: the payload is one byte, or the code may not be on the wire.
            UnicodeDecodeError: the reason is not UTF-8.
        """
        if not data:
            # 7.1.5: "If this Close control frame contains no status code, _The WebSocket
            # Connection Close Code_ is considered to be 1005."
            return cls(CloseCode.NO_STATUS_RCVD, "")
        if len(data) < 2:
            raise ProtocolError("close frame too short")
        close = cls(int.from_bytes(data[:2], "big"), bytes(data[2:]).decode())
        close.check()
        return close

    def serialize(self) -> bytes:
        """Return the payload of a close frame with this code and reason.

        Raises:
            ProtocolError: the code may not be on the wire, or the reason is over 123 bytes
                of UTF-8.
        """
        self.check()
        data = self.code.to_bytes(2, "big") + self.reason.encode()
        if len(data) > MAX_CONTROL_PAYLOAD:
            raise ProtocolError("control frame too long")
        return data

    def check(self) -> None:
        """Check the code (RFC 6455, section 7.4).

        Raises:
            ProtocolError: the code may not be on the wire.
        """
        if self.code not in EXTERNAL_CLOSE_CODES and not 3000 <= self.code < 5000:
            raise ProtocolError("invalid status code")
