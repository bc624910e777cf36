"""Limits of HTTP so small that a short input goes over them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest.mock import patch

from geventws.core import body, head

__all__ = ["check_sizes", "limits"]

# An opening handshake with compression is just within.
LINES = {"MAX_LINE_LENGTH": 80, "MAX_NUM_HEADERS": 8}
HEAD, BODY = {"MAX_HEAD_SIZE": 400}, {"MAX_BODY_SIZE": 50}


@contextlib.contextmanager
def limits(small: bool) -> Iterator[None]:
    """Read within small limits, or within those that there are."""
    if not small:
        yield
        return
    with patch.multiple(head, **LINES, **HEAD), patch.multiple(body, **LINES, **BODY):
        yield


def check_sizes(read: bytes, content: bytes = b"") -> None:
    """A head and a body that were read are within the limits."""
    lines = read.split(b"\n")
    assert max(map(len, lines)) < head.MAX_LINE_LENGTH
    # Beside the headers there are the first line, the blank one, and nothing behind it.
    assert len(lines) <= head.MAX_NUM_HEADERS + 3
    assert len(read) <= head.MAX_HEAD_SIZE
    assert len(content) <= body.MAX_BODY_SIZE
