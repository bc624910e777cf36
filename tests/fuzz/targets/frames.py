"""Frames: any bytes, at either end of a connection."""

from __future__ import annotations

from geventws.core.states import Side
from tests.fuzz.sessions import check_session, masked_frame

# What of the core is tried.
MODULES = ["codec", "payload", "messages", "protocol", "closing", "journal"]

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

# How often what a long frame has comes again: 60 bytes are over 64 KiB. And bytes of all frames.
TIMES, ENOUGH = 1100, 100_000


def check(data: bytes) -> None:
    """Receive bytes, or frames: the first two choose the settings, the rest arrives."""
    if len(data) < 2:
        return
    settings, seed, stream = data[0], data[1], data[2:]
    side = Side.SERVER if settings & 0x80 else Side.CLIENT
    if settings & 0x40:
        stream = frames(stream, side is Side.SERVER)
        # One byte at a time, they would take seconds.
        seed |= 1
    check_session(
        stream,
        seed,
        side,
        max_size=SIZES[settings & 7],
        max_fragments=COUNTS[settings >> 3 & 3],
        debug=bool(settings & 0x20),
    )


def frames(stream: bytes, mask: bool) -> bytes:
    """Make frames of a stream: of each the first byte, its size, 128 more if long, its payload."""
    made = b""
    while len(stream) >= 2 and len(made) < ENOUGH:
        size, is_long = stream[1] & 0x7F, stream[1] & 0x80
        payload = stream[2 : 2 + size]
        made += masked_frame(stream[0], payload * TIMES if is_long else payload, mask)
        stream = stream[2 + size :]
    return made
