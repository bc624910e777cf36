"""Masking (RFC 6455, section 5.3), and copying where there is no mask.

masking.pyx is the same in C; it is used where it was compiled.
"""

from __future__ import annotations

__all__ = ["apply_mask", "copy", "unmask", "unmask_text"]

_to_int = int.from_bytes


def apply_mask(data: bytes | bytearray, key: bytes | bytearray, start: int, stop: int) -> bytes:
    """Mask or unmask ``data[start:stop]``.

    Args:
        data: any bytes.
        key: the masking key, 4 bytes, the first of them for ``data[start]``.
        start, stop: which part, in bytes.

    Returns:
        The part, each byte XORed with the byte of the key at its position modulo 4.
    """
    # One XOR of two long integers: in plain Python, 15 times faster than a loop over bytes.
    size = stop - start
    whole_key = (key * (size // 4 + 1))[:size]
    masked = _to_int(data[start:stop], "little") ^ _to_int(whole_key, "little")
    return masked.to_bytes(size, "little")


def unmask(data: bytearray, pos: int, stop: int) -> bytes:
    """Return the payload that ends at ``stop``, behind a masking key at ``pos``."""
    # As `apply_mask`, without another call.
    start = pos + 4
    size = stop - start
    whole_key = (data[pos:start] * (size // 4 + 1))[:size]
    masked = _to_int(data[start:stop], "little") ^ _to_int(whole_key, "little")
    return masked.to_bytes(size, "little")


def unmask_text(data: bytearray, pos: int, stop: int) -> str:
    """Return the text of a frame, as `unmask`; ``data`` may be changed.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    return unmask(data, pos, stop).decode()


def copy(data: bytearray, start: int, stop: int) -> bytes:
    """Return ``data[start:stop]`` as bytes."""
    return bytes(data[start:stop])
