"""Payloads that arrive in parts, in both builds."""

from __future__ import annotations

import random

import pytest

from geventws.core.masking import apply_mask
from geventws.core.payload import Payload

KEY = b"\x01\x80\xff\x7f"


@pytest.mark.parametrize("key", [KEY, b""])
@pytest.mark.parametrize("size", [0, 1, 5, 4095, 4096, 70_001, 2**20, 2**20 + 1, 5 * 2**20 + 3])
def test_parts_of_any_size(size: int, key: bytes) -> None:
    chance = random.Random(size)
    content = chance.randbytes(size)
    wire = apply_mask(content, key, 0, size) if key else content
    payload = Payload(size, key)
    pos = 0
    while payload.missing:
        assert payload.missing == size - pos
        # What follows on the wire does not belong to it.
        part = bytearray(b"?" + wire[pos : pos + chance.choice((0, 1, 2, 3, 1000, 300_000))])
        end = len(part)
        if pos + end - 1 == size:
            part += b"next frame"
        assert payload.add(part, 1, len(part)) == end
        assert payload.last == content[pos : pos + end - 1]
        pos += end - 1
    assert payload.whole() == content


def test_bytes_one_by_one() -> None:
    content = bytes(range(256)) * 40
    wire = bytearray(apply_mask(content, KEY, 0, len(content)))
    payload = Payload(len(content), KEY)
    for pos in range(len(content)):
        assert payload.add(wire, pos, pos + 1) == pos + 1
    assert payload.whole() == content


def test_what_is_announced_is_not_allocated() -> None:
    payload = Payload(2**62, KEY)
    payload.add(bytearray(10), 0, 10)
    assert payload.missing == 2**62 - 10
