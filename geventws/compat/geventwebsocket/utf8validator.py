"""Validation of UTF-8 in pieces."""

from __future__ import annotations

import codecs

__all__ = ["Utf8Validator"]


class Utf8Validator:
    """Validates UTF-8 as it arrives. Connections do that themselves: it is for programs."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        # How many bytes were validated.
        self._total = 0

    def validate(self, data: bytes) -> tuple[bool, bool, int, int]:
        """Validate the next piece.

        Returns:
            Whether it is valid so far; whether it ends at the end of a character; how many
            bytes of this piece, and of all pieces, are before the first wrong one.
        """
        waiting = len(self._decoder.getstate()[0])
        try:
            self._decoder.decode(data)
        except UnicodeDecodeError as exc:
            # Python counts from the character's beginning.
            wrong = exc.start if exc.reason == "invalid start byte" else exc.end
            index = max(wrong - waiting, 0)
            return False, False, index, self._total + index
        self._total += len(data)
        return True, not self._decoder.getstate()[0], len(data), self._total
