"""What exceptions say, which may end in a log."""

from __future__ import annotations


def check_error(exc: BaseException | None) -> None:
    """Check that an exception and its causes say something that no peer can use to forge lines."""
    while exc is not None:
        text = str(exc)
        assert text and text.isprintable(), repr(exc)
        exc = exc.__cause__
