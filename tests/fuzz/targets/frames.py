"""Frames: any bytes, at either end of a connection."""

from __future__ import annotations

from geventws.core.states import Side
from tests.fuzz.sessions import check_session

TOKENS = [
    b"\x81\x80\0\0\0\0",
    b"\x82\x80\0\0\0\0",
    b"\x01\x81\0\0\0\0a",
    b"\x80\x80\0\0\0\0",
    b"\x88\x82\0\0\0\0\x03\xe8",
    b"\x89\x80\0\0\0\0",
    b"\x81\x7e\0\x7e",
    b"\x82\x7f\0\0\0\0\0\1\0\0",
    b"\xc3\xa9",
    b"\xe2\x82\xac",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98\x80",
    b"\xf4\x90",
]

SIZES: list[int | None] = [None, 0, 10, 125, 126, 1000, 65535, 100_000]
COUNTS: list[int | None] = [None, 1, 2, 3]


def check(data: bytes) -> None:
    """Receive bytes: the first two choose the settings, the rest arrives."""
    if len(data) < 2:
        return
    settings, seed, stream = data[0], data[1], data[2:]
    check_session(
        stream,
        seed,
        Side.SERVER if settings & 0x80 else Side.CLIENT,
        max_size=SIZES[settings & 7],
        max_fragments=COUNTS[settings >> 3 & 3],
        debug=bool(settings & 0x20),
    )
