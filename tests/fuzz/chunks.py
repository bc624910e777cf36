"""Ways to cut what arrives into pieces: the result must not depend on it."""

from __future__ import annotations

import random

__all__ = ["ways_to_cut"]


def ways_to_cut(data: bytes, seed: int) -> list[list[bytes]]:
    """Return data as one piece, and cut: into single bytes, or at random.

    Args:
        data: what arrives.
        seed: 0 cuts into single bytes; others cut at random, each always alike.
    """
    chance = random.Random(seed)
    pieces, start = [], 0
    while start < len(data):
        stop = start + (chance.choice((1, 2, 3, 7, 30, 200)) if seed else 1)
        pieces.append(data[start:stop])
        start = stop
    return [[data], pieces]
