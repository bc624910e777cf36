"""Frame codec: bytes to frames and back (RFC 6455, section 5.2)."""

from __future__ import annotations

import os

from geventws.core.exceptions import PayloadTooBig, ProtocolError
from geventws.core.frames import FIN, WHOLE_BINARY, WHOLE_TEXT
from geventws.core.masking import apply_mask, copy, unmask, unmask_text
from geventws.core.payload import Payload

__all__ = ["FrameDecoder", "encode_frame", "encode_header"]

# A frame's first byte...
RSV_BITS = 0x70
CONTROL_BIT = 0x08
# ...of whose opcode, 0-2 and 8-A are defined, so that three bits are at most 2. 11.8: "All
# other opcodes are reserved".
KIND_BITS = 0x07
# ...and its second.
MASK_BIT = 0x80
LENGTH_BITS = 0x7F

# First bytes of which nothing needs to be checked: data frames without reserved bits. One look
# into a table where three tests would cost 60 ns in plain Python.
PLAIN = bytes(not head & (RSV_BITS | CONTROL_BIT) and head & KIND_BITS <= 2 for head in range(256))

# Stands for no limit, in bytes: a number where None would cost a test for each frame.
UNLIMITED = 1 << 62

# Headers of short unmasked messages, made once: 40 ns less for each message.
TEXT_HEADERS = [bytes((WHOLE_TEXT, length)) for length in range(126)]
BINARY_HEADERS = [bytes((WHOLE_BINARY, length)) for length in range(126)]


def encode_frame(head: int, payload: bytes, mask: bool) -> bytes:
    """Return a frame as it goes over the wire.

    Args:
        head: its first byte: FIN, RSV1-3, and the opcode.
        payload: its payload, after extensions.
        mask: whether to mask it. 5.3: "The masking key is a 32-bit value chosen at random
            by the client."
    """
    length = len(payload)
    if length < 126 and not mask:
        if head == WHOLE_BINARY:
            return BINARY_HEADERS[length] + payload
        if head == WHOLE_TEXT:
            return TEXT_HEADERS[length] + payload
    header = encode_header(head, length, mask)
    if mask:
        key = os.urandom(4)
        return b"".join((header, key, apply_mask(payload, key, 0, length)))
    return header + payload


def encode_header(head: int, length: int, mask: bool) -> bytes:
    """Return what stands before the masking key and the payload.

    Args:
        head: the first byte.
        length: how many bytes the payload has.
        mask: whether it is masked.
    """
    mask_bit = MASK_BIT if mask else 0
    # 5.2: "the minimal number of bytes MUST be used to encode the length".
    if length < 126:
        return bytes((head, mask_bit | length))
    if length < 65536:
        return bytes((head, mask_bit | 126, length >> 8, length & 0xFF))
    return bytes((head, mask_bit | 127)) + length.to_bytes(8, "big")


class FrameDecoder:
    """Decode frames, one at each call of `decode`, from bytes given to `feed` or `lend`.

    It is pulled, not pushed: whoever reads stops pulling when it has no room, and what
    stands before an offending frame is out before the offence is raised.

    Args:
        masked: whether the peer must mask its frames, as clients must and servers must not.
        max_size: largest message in bytes, or None.
        max_fragment_size: largest frame in bytes, or None.
    """

    __slots__ = (
        "_data",
        "_end",
        "_mask_bit",
        "_payload",
        "_pos",
        "_size",
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
        self.max_size = _limit(max_size)
        self.max_fragment_size = _limit(max_fragment_size)
        # Bytes of the fragmented message under way; the assembler of messages keeps it.
        self.message_size = 0
        # The reserved bits that negotiated extensions use.
        self.rsv = 0
        # What the last `decode` took of an unfinished data frame's payload, if it may be text;
        # None if that was nothing.
        self.partial: bytes | None = None
        self._mask_bit = MASK_BIT if masked else 0
        # Whether to ignore what arrives from now on.
        self.discarding = False
        # Whether all bytes are decoded; saves a fruitless `decode` for each message.
        self.empty = True
        # Bytes not decoded yet: _data[_pos:_end].
        self._data = NOTHING
        self._pos = 0
        self._end = 0
        # First byte of the frame that was decoded last, or is under way.
        self.head = 0
        # The payload of the frame under way, as far as it is there, and its whole size.
        self._payload: Payload | None = None
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Add bytes from the network."""
        self.lend(bytearray(data), len(data))

    def lend(self, buffer: bytearray, size: int) -> None:
        """Add bytes from the network that lie in a buffer; call `keep` before it is reused.

        Most reads are decoded at once, and need not be copied out of the buffer before.

        Args:
            buffer: begins with what arrived.
            size: how many bytes that is.
        """
        if self.discarding:
            return
        if self.empty:
            self._data, self._pos, self._end = buffer, 0, size
        else:
            self._data = self._data[self._pos : self._end] + buffer[:size]
            self._pos, self._end = 0, len(self._data)
        self.empty = not self._end

    def keep(self) -> None:
        """Copy what is not decoded out of a buffer that was lent."""
        self._data = self._data[self._pos : self._end]
        self._pos, self._end = 0, len(self._data)

    def _forget(self) -> None:
        """Let go of bytes that are decoded: an idle connection must not keep its last read."""
        self._data, self._pos, self._end = NOTHING, 0, 0
        self.empty = True

    def discard(self) -> None:
        """Forget what is not decoded, and ignore what arrives from now on."""
        self.discarding = True
        self._forget()
        self._payload = None

    @property
    def between_frames(self) -> bool:
        """Whether the bytes fed so far end with a whole frame."""
        return self._payload is None and self.empty

    @property
    def progress(self) -> tuple[int, int]:
        """Return how many bytes of the part under way are there, and how many it has.

        The parts of a frame: its first two bytes, a longer length, the masking key, the payload.
        """
        if self._payload is not None:
            return self._size - self._payload.missing, self._size
        have = self._end - self._pos
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

    def decode(self, text: bool = False) -> str | bytes | None:
        """Decode the next frame.

        Args:
            text: whether to return a text message that is one frame, and was fed whole, as
                `str`. It saves a copy.

        Returns:
            Its unmasked payload, while `head` holds its first byte; or None when more bytes
            are needed; then `partial` holds what could be unmasked of a data frame's payload
            already, unless it is binary.

        Raises:
            ProtocolError: the frame breaks section 5.
            PayloadTooBig: it is over ``max_size`` or ``max_fragment_size``.
            UnicodeDecodeError: it is a text message, wanted as `str`, and not UTF-8.
        """
        if self._payload is not None:
            return self._decode_rest()
        data, pos, end = self._data, self._pos, self._end
        if end - pos < 2:
            return None
        head, length, mask_bit = data[pos], data[pos + 1], self._mask_bit
        if not PLAIN[head]:
            self._check_head(head, length & LENGTH_BITS)
        # 5.1: "The server MUST close the connection upon receiving a frame that is not
        # masked." "A client MUST close a connection if it detects a masked frame."
        if length & MASK_BIT != mask_bit:
            raise ProtocolError("incorrect masking")
        length &= LENGTH_BITS
        pos += 2
        if length > 125:
            width = 2 if length == 126 else 8
            if end - pos < width:
                return None
            length = self._decode_length(pos, width)
            pos += width
        if length > self.max_fragment_size or length > self.max_size - self.message_size:
            self._refuse_length(head, length)
        start = pos + 4 if mask_bit else pos
        if length > end - start:
            if end < start:
                return None
            self._begin_payload(head, pos, start, length)
            return self._decode_rest()
        self.head = head
        self._pos = stop = start + length
        if stop == end:
            self._data, self.empty = NOTHING, True
        if text and head == WHOLE_TEXT:
            if mask_bit:
                return unmask_text(data, pos, stop)
            return data[pos:stop].decode("utf-8")
        return unmask(data, pos, stop) if mask_bit else copy(data, pos, stop)

    def _decode_length(self, pos: int, width: int) -> int:
        """Decode a length of 2 or 8 bytes."""
        data = self._data
        if width == 2:
            return data[pos] << 8 | data[pos + 1]
        # 5.2: "the most significant bit MUST be 0"
        if data[pos] & 0x80:
            raise ProtocolError("most significant bit of payload length must be 0")
        return int.from_bytes(data[pos : pos + width], "big")

    def _begin_payload(self, head: int, pos: int, start: int, length: int) -> None:
        """Remember the header of a frame whose payload is not all there."""
        self.head, self._pos, self._size = head, start, length
        self._payload = Payload(length, bytes(self._data[pos:start]))

    def _decode_rest(self) -> bytes | None:
        """Take more of an unfinished frame's payload; return it whole if that finishes it."""
        payload = self._payload
        assert payload is not None
        # Straight out of the buffer: a large payload is not copied twice.
        self._pos = payload.add(self._data, self._pos, self._end)
        if self._pos == self._end:
            self._forget()
        if payload.missing:
            if not self.head & CONTROL_BIT:
                # Of a binary frame, it only matters that it is there.
                self.partial = b"" if self.head & KIND_BITS == 2 else payload.last
            return None
        self._payload = None
        return payload.whole()

    def _check_head(self, head: int, length: int) -> None:
        # 5.2: RSV bits "MUST be 0 unless an extension is negotiated that defines meanings
        # for non-zero values."
        if head & RSV_BITS & ~self.rsv or (head & RSV_BITS and head & CONTROL_BIT):
            raise ProtocolError("reserved bits must be 0")
        # 5.2: "If an unknown opcode is received, the receiving endpoint MUST _Fail the
        # WebSocket Connection_."
        if head & KIND_BITS > 2:
            raise ProtocolError("invalid opcode")
        # 5.5: "All control frames MUST have a payload length of 125 bytes or less and MUST
        # NOT be fragmented."
        if head & CONTROL_BIT:
            if length > 125:
                raise ProtocolError("control frame too long")
            if not head & FIN:
                raise ProtocolError("fragmented control frame")

    def _refuse_length(self, head: int, length: int) -> None:
        if head & CONTROL_BIT:
            # It is no part of a message.
            return
        if length > self.max_size - self.message_size:
            raise PayloadTooBig(length, self.max_size, self.message_size)
        raise PayloadTooBig(length, self.max_fragment_size)


# Bytes of a decoder that has none.
NOTHING = bytearray()


def _limit(size: int | None) -> int:
    """Return a limit as a number."""
    return UNLIMITED if size is None else min(size, UNLIMITED)
