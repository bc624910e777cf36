"""Texts of others on a terminal: control characters shown, exceptions in one line."""

from __future__ import annotations

import unicodedata

__all__ = ["columns", "escape", "explain"]

# A terminal obeys these: a message could move the cursor, or answer in the user's name.
_CONTROLS = {code: repr(chr(code))[1:-1] for code in (*range(0x20), *range(0x7F, 0xA0))}


def escape(text: str) -> str:
    """Return a text with its control characters as Python writes them."""
    return text.translate(_CONTROLS)


def columns(text: str) -> int:
    """Return how many columns of a terminal a text without control characters takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


def explain(exc: BaseException) -> str:
    """Return what happened, and why, in one line.

    Args:
        exc: the exception; those that caused it are told, too.
    """
    texts: list[str] = []
    current: BaseException | None = exc
    while current is not None:
        text = str(current) or type(current).__name__
        # An exception often repeats what caused it.
        if not any(text in earlier for earlier in texts):
            texts.append(text)
        current = current.__cause__
    return escape(": ".join(texts))
