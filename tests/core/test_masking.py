"""Masking: RFC 6455, section 5.3, byte by byte."""

from __future__ import annotations

import random

import pytest

from geventws.core.masking import apply_mask, copy, unmask, unmask_text


def masked_by_definition(data: bytes, key: bytes) -> bytes:
    # 5.3: "j = i MOD 4; transformed-octet-i = original-octet-i XOR masking-key-octet-j"
    return bytes(byte ^ key[i % 4] for i, byte in enumerate(data))


def test_example_of_the_rfc() -> None:
    # 5.7: "A single-frame masked text message"
    key, masked = bytes.fromhex("37fa213d"), bytes.fromhex("7f9f4d5158")
    assert apply_mask(b"Hello", key, 0, len(b"Hello")) == masked
    assert apply_mask(masked, key, 0, len(masked)) == b"Hello"


@pytest.mark.parametrize("size", [*range(18), 125, 126, 4095, 4096, 65535, 65536, 65537])
def test_masks_as_defined(size: int) -> None:
    chance = random.Random(size)
    data, key = chance.randbytes(size), chance.randbytes(4)
    assert apply_mask(data, key, 0, len(data)) == masked_by_definition(data, key)


@pytest.mark.parametrize("key", [b"\0\0\0\0", b"\0\0\0\1", b"\1\0\0\0", b"\xff\xff\xff\xff"])
@pytest.mark.parametrize("data", [b"\0\0\0\0\0\0", b"\xff" * 9, b"a\0\0\0\0", b"\0\0\0\0a"])
def test_zeros_at_either_end_are_kept(data: bytes, key: bytes) -> None:
    assert apply_mask(data, key, 0, len(data)) == masked_by_definition(data, key)


def test_masking_twice_gives_the_data_back() -> None:
    data = bytes(range(256)) * 3
    masked = apply_mask(data, b"\1\2\3\4", 0, len(data))
    assert apply_mask(masked, b"\1\2\3\4", 0, len(data)) == data


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_takes_what_is_like_bytes_and_returns_bytes(kind: type) -> None:
    masked = apply_mask(kind(b"Hello"), kind(bytes.fromhex("37fa213d")), 0, 5)
    assert type(masked) is bytes
    assert masked == bytes.fromhex("7f9f4d5158")


@pytest.mark.parametrize("start", range(9))
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 100])
def test_takes_a_part(start: int, size: int) -> None:
    data, key = random.Random(size).randbytes(120), b"\1\2\3\4"
    part = data[start : start + size]
    assert apply_mask(data, key, start, start + size) == masked_by_definition(part, key)
    assert copy(bytearray(data), start, start + size) == part
    framed = bytearray(data[:start] + key + part + b"rest")
    assert unmask(framed, start, start + 4 + size) == masked_by_definition(part, key)


@pytest.mark.parametrize("text", ["", "a", "Hello", "grüße €100", "x" * 5000, "\U0001f600" * 9])
def test_unmasks_text(text: str) -> None:
    key, data = b"\x01\x80\xff\x7f", text.encode()
    framed = bytearray(b"??" + key + apply_mask(data, key, 0, len(data)) + b"rest")
    assert unmask_text(framed, 2, 6 + len(data)) == text
    assert framed[-4:] == b"rest"


def test_unmasks_no_broken_text() -> None:
    with pytest.raises(UnicodeDecodeError, match="invalid start byte"):
        unmask_text(bytearray(b"\0\0\0\0a\xff"), 0, 6)
