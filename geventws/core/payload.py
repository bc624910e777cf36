"""The payload of a frame that arrives in parts (RFC 6455, section 5.3).

payload.pyx is the same in C, with one allocation and one copy; it is used where it was
compiled.
"""

from __future__ import annotations

from geventws.core.masking import apply_mask, copy

__all__ = ["Payload"]

# Parts are joined up to this many bytes, so that a peer that sends byte by byte cannot make
# each byte cost an object.
SMALL_PART = 4096


class Payload:
    """Unmask a payload as it arrives.

    In plain Python, parts that fit the processor's cache and are joined at the end are twice
    as fast as one large buffer.

    Args:
        size: how many bytes it will have.
        key: the masking key, or none where there is no mask.
    """

    __slots__ = ("_key", "_parts", "last", "missing")

    def __init__(self, size: int, key: bytes) -> None:
        # Bytes that have not arrived.
        self.missing = size
        # What was added last.
        self.last = b""
        # Rotated, so that its first byte is for the byte that comes next.
        self._key = key
        self._parts: list[bytes] = []

    def add(self, data: bytearray, start: int, end: int) -> int:
        """Take what belongs to it of ``data[start:end]``; return where that ends."""
        stop = start + min(self.missing, end - start)
        if self._key:
            part = apply_mask(data, self._key, start, stop)
            turn = (stop - start) % 4
            self._key = self._key[turn:] + self._key[:turn]
        else:
            part = copy(data, start, stop)
        if self._parts and len(self._parts[-1]) < SMALL_PART:
            self._parts[-1] += part
        else:
            self._parts.append(part)
        self.last = part
        self.missing -= len(part)
        return stop

    def whole(self) -> bytes:
        """Return all of it, once nothing is missing."""
        return b"".join(self._parts)
