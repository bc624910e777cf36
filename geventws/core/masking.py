"""Masking (RFC 6455, section 5.3)."""

from __future__ import annotations

import sys

__all__ = ["apply_mask"]


def apply_mask(data: bytes, key: bytes) -> bytes:
    """Mask or unmask data: XOR each byte with the byte of the key at its position modulo 4.

    Args:
        data: any number of bytes.
        key: the masking key, 4 bytes.

    Returns:
        As many bytes as ``data`` has.
    """
    size = len(data)
    # One XOR of two long integers: in plain Python, 15 times faster than a loop over bytes.
    whole_key = (key * (size // 4 + 1))[:size]
    masked = int.from_bytes(data, sys.byteorder) ^ int.from_bytes(whole_key, sys.byteorder)
    return masked.to_bytes(size, sys.byteorder)
