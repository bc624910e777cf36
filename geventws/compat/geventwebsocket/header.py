"""The head of a frame (RFC 6455, section 5.2), as gevent-websocket represents it."""

from __future__ import annotations

from typing import Any, Self

from geventws.compat.geventwebsocket.exceptions import (
    FrameTooLargeException,
    ProtocolError,
    WebSocketError,
)
from geventws.core.frames import MAX_CONTROL_PAYLOAD, Opcode
from geventws.core.masking import apply_mask

__all__ = ["Header"]


class Header:
    """The head of a frame. Connections do not use it: it is for programs that do.

    Args:
        fin: whether the frame ends a message.
        opcode: what it is.
        flags: its reserved bits, by `HEADER_FLAG_MASK`.
        length: of its payload, in bytes.
    """

    FIN_MASK = MASK_MASK = 0x80
    OPCODE_MASK = 0x0F
    LENGTH_MASK = 0x7F
    # The bits that the RFC calls RSV1, RSV2 and RSV3.
    RSV0_MASK, RSV1_MASK, RSV2_MASK = 0x40, 0x20, 0x10
    HEADER_FLAG_MASK = RSV0_MASK | RSV1_MASK | RSV2_MASK

    __slots__ = ("fin", "flags", "length", "mask", "opcode")

    def __init__(self, fin: Any = 0, opcode: int = 0, flags: int = 0, length: int = 0) -> None:
        # The masking key; empty if the payload is not masked.
        self.mask: Any = b""
        self.fin = fin
        self.opcode = opcode
        self.flags = flags
        self.length = length

    def mask_payload(self, payload: Any) -> bytearray:
        """Return the payload masked by the masking key."""
        data = bytes(payload)
        return bytearray(apply_mask(data, bytes(self.mask), 0, len(data)) if self.mask else data)

    unmask_payload = mask_payload

    def __repr__(self) -> str:
        names = [f"{opcode.name.lower()}({opcode.value})" for opcode in Opcode]
        opcode = dict(zip(Opcode, names, strict=True)).get(self.opcode)  # type: ignore[call-overload]
        return (
            f"<Header fin={self.fin} opcode={opcode or f'reserved({self.opcode})'} "
            f"length={self.length} flags={self.flags:#x} mask={self.mask!r}>"
        )

    @classmethod
    def decode_header(cls, stream: Any) -> Self:
        """Read the head of a frame.

        Args:
            stream: a file to read from.

        Raises:
            WebSocketError: the file ends.
            ProtocolError: a control frame is fragmented.
            FrameTooLargeException: a control frame is longer than 125 bytes.
        """
        first, second = _read(stream, 2)
        length = second & cls.LENGTH_MASK
        opcode = first & cls.OPCODE_MASK
        if opcode >= Opcode.CLOSE:
            # 5.5: "All control frames MUST have a payload length of 125 bytes or less and MUST
            # NOT be fragmented."
            if not first & cls.FIN_MASK:
                raise ProtocolError("received a fragmented control frame")
            if length > MAX_CONTROL_PAYLOAD:
                raise FrameTooLargeException("received a control frame of more than 125 bytes")
        if length > MAX_CONTROL_PAYLOAD:
            length = int.from_bytes(_read(stream, 2 if length == 126 else 8), "big")
        flags = first & cls.HEADER_FLAG_MASK
        header = cls(bool(first & cls.FIN_MASK), opcode, flags, length)
        if second & cls.MASK_MASK:
            header.mask = _read(stream, 4)
        return header

    @classmethod
    def encode_header(
        cls, fin: Any, opcode: int, mask: Any, length: int, flags: int = 0
    ) -> bytearray:
        """Return the head of a frame as bytes; arguments as for the class.

        Args:
            mask: the masking key; empty if the payload is not masked.

        Raises:
            FrameTooLargeException: the length does not fit into 64 bits.
        """
        if length <= MAX_CONTROL_PAYLOAD:
            short, extended = length, b""
        elif length < 1 << 16:
            short, extended = 126, length.to_bytes(2, "big")
        elif length < 1 << 64:
            short, extended = 127, length.to_bytes(8, "big")
        else:
            raise FrameTooLargeException(f"a frame cannot have {length} bytes")
        first = opcode | flags & cls.HEADER_FLAG_MASK | (cls.FIN_MASK if fin else 0)
        second = short | (cls.MASK_MASK if mask else 0)
        return bytearray((first, second)) + extended + bytes(mask or b"")


def _read(stream: Any, size: int) -> bytes:
    data: bytes = stream.read(size)
    if len(data) != size:
        raise WebSocketError("the stream ended inside of a frame's head")
    return data
