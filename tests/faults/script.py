"""What bytes say that have passed in one direction, also where TLS hides it."""

from __future__ import annotations

from collections.abc import Iterator
from os.path import commonprefix

from geventws import Opcode

# The content type of encrypted TLS records, and how much longer they are than what they hide: that
# has its own type behind it, and a tag (RFC 8446, section 5.2).
ENCRYPTED, OVERHEAD = 23, 1 + 16

# How long an alert is; one ends a direction, perhaps early.
ALERT = 2


class Script:
    """What is said in one direction.

    Args:
        data: a head, and frames, of which the end may be missing.
    """

    def __init__(self, data: bytearray) -> None:
        size, head = len(data), data.find(b"\r\n\r\n") + 4
        # Whether the head is complete.
        self.opened = head >= 4
        frames = list(_frames(data, head)) if self.opened else []
        ends = [end for fin, opcode, end in frames if fin and opcode < Opcode.CLOSE and end <= size]
        # How many messages are complete, and how many have begun.
        self.messages = len(ends)
        self.begun = sum(opcode in (Opcode.TEXT, Opcode.BINARY) for _, opcode, _ in frames)
        # How many messages something follows.
        self.followed = sum(end < size for end in ends)
        # Whether the close frame is complete.
        self.closed = any(opcode == Opcode.CLOSE and end <= size for _, opcode, end in frames)


def _frames(data: bytearray, offset: int) -> Iterator[tuple[bool, int, int]]:
    """Yield FIN, the opcode and the end of each frame, which are short."""
    while offset + 2 <= len(data):
        first, second = data[offset : offset + 2]
        offset += 2 + (4 if second & 0x80 else 0) + (second & 0x7F)
        yield first & 0x80 > 0, first & 0x0F, offset


class Records:
    """The TLS records of one direction, by whose sizes one sees how much of a script is in them.

    Args:
        script: all that is said, without TLS.
        passed: the same in TLS 1.3.
    """

    def __init__(self, script: bytearray, passed: bytearray) -> None:
        self._script = script
        sizes = _sizes(passed)
        # How many of them belong to the handshake, most of which is encrypted, too.
        self._handshake = next(
            count for count in range(len(sizes)) if sum(sizes[count:]) - len(script) in (0, ALERT)
        )
        self._sizes = sizes[self._handshake :]

    def read(self, passed: bytearray) -> bytearray:
        """Return what of the script has passed in whole records."""
        sizes = _sizes(passed)[self._handshake :]
        known = commonprefix([sizes, self._sizes])
        assert sizes[len(known) :] in ([], [ALERT]), "something else was said"
        return self._script[: sum(known)]


def _sizes(passed: bytearray) -> list[int]:
    """How much is in each encrypted record that has passed as a whole."""
    sizes, offset = [], 0
    while offset + 5 <= len(passed):
        kind, size = passed[offset], int.from_bytes(passed[offset + 3 : offset + 5])
        offset += 5 + size
        if kind == ENCRYPTED and offset <= len(passed):
            sizes.append(size - OVERHEAD)
    return sizes
