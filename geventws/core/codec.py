"""Frame codec: bytes to frames and back (RFC 6455, section 5.2)."""

from __future__ import annotations

import os

from geventws.core.exceptions import PayloadTooBig, ProtocolError
from geventws.core.masking import apply_mask

__all__ = ["FrameDecoder", "encode_frame"]

FIN = 0x80
RSV_BITS = 0x70
CONTROL_BIT = 0x08
OPCODE_BITS = 0x0F
MASK_BIT = 0x80
LENGTH_BITS = 0x7F

# 11.8: opcodes that are defined; "All other opcodes are reserved".
OPCODES = frozenset({0x0, 0x1, 0x2, 0x8, 0x9, 0xA})

# Pieces of an unfinished frame are joined up to this many bytes, so that a peer that sends
# byte by byte cannot make each byte cost an object.
SMALL_PIECE = 4096


# Headers of short unmasked messages, made once: 40 ns less for each message.
SHORT_HEADERS = {head: [bytes((head, length)) for length in range(126)] for head in (0x81, 0x82)}


def encode_frame(head: int, payload: bytes, mask: bool) -> bytes:
    """Return a frame as it goes over the wire.

    Args:
        head: its first byte: FIN, RSV1-3, and the opcode.
        payload: its payload, after extensions.
        mask: whether to mask it. 5.3: "The masking key is a 32-bit value chosen at random
            by the client."
    """
    length = len(payload)
    if length < 126 and not mask and head in SHORT_HEADERS:
        return SHORT_HEADERS[head][length] + payload
    mask_bit = MASK_BIT if mask else 0
    if length < 126:
        header = bytes((head, mask_bit | length))
    elif length < 65536:
        header = bytes((head, mask_bit | 126, length >> 8, length & 0xFF))
    else:
        header = bytes((head, mask_bit | 127)) + length.to_bytes(8, "big")
    if mask:
        key = os.urandom(4)
        return b"".join((header, key, apply_mask(payload, key)))
    return header + payload


class FrameDecoder:
    """Decode frames, one at each call of `decode`, from bytes given to `feed`.

    It is pulled, not pushed: whoever reads stops pulling when it has no room, and what
    stands before an offending frame is out before the offence is raised.

    Args:
        masked: whether the peer must mask its frames, as clients must and servers must not.
        max_size: largest message in bytes, or None.
        max_fragment_size: largest frame in bytes, or None.
    """

    __slots__ = (
        "_data",
        "_key",
        "_mask_bit",
        "_missing",
        "_pieces",
        "_pos",
        "discarding",
        "empty",
        "head",
        "max_fragment_size",
        "max_size",
        "message_size",
        "partial",
        "rsv",
    )

    def __init__(
        self, masked: bool, max_size: int | None = None, max_fragment_size: int | None = None
    ) -> None:
        # Limits in bytes; checked against a frame's header, before its payload is kept.
        self.max_size = max_size
        self.max_fragment_size = max_fragment_size
        # Bytes of the fragmented message under way; the assembler of messages keeps it.
        self.message_size = 0
        # The reserved bits that negotiated extensions use.
        self.rsv = 0
        # What the last `decode` took of an unfinished data frame's payload.
        self.partial = b""
        self._mask_bit = MASK_BIT if masked else 0
        # Whether to ignore what arrives from now on.
        self.discarding = False
        # Whether all bytes are decoded; saves a fruitless `decode` for each message.
        self.empty = True
        # Bytes not decoded yet begin at _pos.
        self._data = b""
        self._pos = 0
        # The unfinished frame: first byte, masking key rotated to the next byte, bytes that
        # are missing (0: no frame under way), payload so far.
        self.head = 0
        self._key = b""
        self._missing = 0
        self._pieces: list[bytes] | None = None

    def feed(self, data: bytes) -> None:
        """Add bytes from the network."""
        if self.discarding:
            return
        if not self.empty:
            data = self._data[self._pos :] + data
        self._data = data
        self._pos = 0
        self.empty = not data

    def _forget(self) -> None:
        """Let go of bytes that are decoded: an idle connection must not keep its last read."""
        self._data, self._pos = b"", 0
        self.empty = True

    def discard(self) -> None:
        """Forget what is not decoded, and ignore what arrives from now on."""
        self.discarding = True
        self._forget()
        self._pieces = None
        self._missing = 0

    @property
    def between_frames(self) -> bool:
        """Whether the bytes fed so far end with a whole frame."""
        return not self._missing and self.empty

    @property
    def progress(self) -> tuple[int, int]:
        """Return how many bytes of the part under way are there, and how many it has.

        The parts of a frame: its first two bytes, a longer length, the masking key, the payload.
        """
        if self._missing:
            have = sum(map(len, self._pieces or ()))
            return have, have + self._missing
        have = len(self._data) - self._pos
        if have < 2:
            return have, 2
        have -= 2
        width = {126: 2, 127: 8}.get(self._data[self._pos + 1] & LENGTH_BITS, 0)
        return (have, width) if have < width else (have - width, 4)

    def eof_error(self) -> EOFError:
        """Return the error that says where the stream ended."""
        if self.between_frames:
            return EOFError("unexpected end of stream")
        have, expected = self.progress
        return EOFError(f"stream ends after {have} bytes, expected {expected} bytes")

    def decode(self) -> tuple[int, bytes] | None:
        """Decode the next frame.

        Returns:
            Its first byte and its unmasked payload, or None when more bytes are needed;
            then `partial` holds what could be unmasked of a data frame's payload already.

        Raises:
            ProtocolError: the frame breaks section 5.
            PayloadTooBig: it is over ``max_size`` or ``max_fragment_size``.
        """
        if self._missing:
            return self._decode_rest()
        data, pos = self._data, self._pos
        size = len(data)
        if size - pos < 2:
            return None
        head, length = data[pos], data[pos + 1]
        if head & RSV_BITS or head & OPCODE_BITS not in OPCODES:
            self._check_head(head)
        # 5.1: "The server MUST close the connection upon receiving a frame that is not
        # masked." "A client MUST close a connection if it detects a masked frame."
        if length & MASK_BIT != self._mask_bit:
            raise ProtocolError("incorrect masking")
        length &= LENGTH_BITS
        pos += 2
        if head & CONTROL_BIT:
            self._check_control(head, length)
        elif length > 125:
            width = 2 if length == 126 else 8
            if size < pos + width:
                return None
            length = int.from_bytes(data[pos : pos + width], "big")
            pos += width
            self._check_length(length)
        elif self.max_fragment_size is not None or (
            self.max_size is not None and length + self.message_size > self.max_size
        ):
            self._check_length(length)
        if self._mask_bit:
            key = data[pos : pos + 4]
            if len(key) < 4:
                return None
            pos += 4
        else:
            key = b""
        end = pos + length
        if end > size:
            self._begin_payload(head, key, pos, length)
            return self._decode_rest()
        payload = data[pos:end]
        if end == size:
            self._data, self._pos, self.empty = b"", 0, True  # `_forget`, 50 ns cheaper
        else:
            self._pos = end
        return head, apply_mask(payload, key) if key else payload

    def _begin_payload(self, head: int, key: bytes, pos: int, length: int) -> None:
        """Remember the header of a frame whose payload is not all there."""
        self.head, self._key, self._pos = head, key, pos
        self._missing = length
        self._pieces = []

    def _decode_rest(self) -> tuple[int, bytes] | None:
        """Take more of an unfinished frame's payload; return the frame if that finishes it."""
        data, pieces = self._data, self._pieces
        assert pieces is not None
        piece = data[self._pos : self._pos + self._missing]
        self._pos += len(piece)
        self._missing -= len(piece)
        if self._pos == len(data):
            self._forget()
        if self._key:
            piece = apply_mask(piece, self._key)
            turn = len(piece) % 4
            self._key = self._key[turn:] + self._key[:turn]
        if pieces and len(pieces[-1]) < SMALL_PIECE:
            pieces[-1] += piece
        else:
            pieces.append(piece)
        if self._missing:
            self.partial = b"" if self.head & CONTROL_BIT else piece
            return None
        self._pieces = None
        return self.head, b"".join(pieces)

    def _check_head(self, head: int) -> None:
        # 5.2: RSV bits "MUST be 0 unless an extension is negotiated that defines meanings
        # for non-zero values."
        if head & RSV_BITS & ~self.rsv or (head & RSV_BITS and head & CONTROL_BIT):
            raise ProtocolError("reserved bits must be 0")
        # 5.2: "If an unknown opcode is received, the receiving endpoint MUST _Fail the
        # WebSocket Connection_."
        if head & OPCODE_BITS not in OPCODES:
            raise ProtocolError("invalid opcode")

    def _check_control(self, head: int, length: int) -> None:
        # 5.5: "All control frames MUST have a payload length of 125 bytes or less and MUST
        # NOT be fragmented."
        if length > 125:
            raise ProtocolError("control frame too long")
        if not head & FIN:
            raise ProtocolError("fragmented control frame")

    def _check_length(self, length: int) -> None:
        # 5.2: "the most significant bit MUST be 0"
        if length >> 63:
            raise ProtocolError("most significant bit of payload length must be 0")
        if self.max_size is not None and length + self.message_size > self.max_size:
            raise PayloadTooBig(length, self.max_size, self.message_size)
        if self.max_fragment_size is not None and length > self.max_fragment_size:
            raise PayloadTooBig(length, self.max_fragment_size)
