"""Escaping: what a peer says, made fit for logs and messages."""

from __future__ import annotations

__all__ = ["escape"]


def escape(text: str) -> str:
    """Escape what a peer could use to forge log lines, or to command a terminal.

    That is all that is not printable: control characters, C1 of ISO-8859-1 among them, the line
    ends of Unicode, and what changes the direction of writing.
    """
    return text if text.isprintable() else repr(text)[1:-1]
