"""The head of a frame as gevent-websocket represents it."""

from __future__ import annotations

import io
from typing import Any

import pytest

from geventws.compat.geventwebsocket.exceptions import (
    FrameTooLargeException,
    ProtocolError,
    WebSocketError,
)
from geventws.compat.geventwebsocket.header import Header
from geventws.core.codec import encode_frame


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536])
@pytest.mark.parametrize("opcode", [1, 2])
def test_heads_are_those_of_the_codec(opcode: int, length: int) -> None:
    frame = encode_frame(0x80 | opcode, bytes(length), False)
    assert Header.encode_header(True, opcode, b"", length) == frame[: len(frame) - length]


@pytest.mark.parametrize(
    ("fin", "opcode", "mask", "length", "flags"),
    [
        (True, 1, b"", 5, 0),
        (False, 2, b"abcd", 126, Header.RSV0_MASK),
        (True, 0, b"abcd", 1 << 16, Header.HEADER_FLAG_MASK),
        (True, 9, b"", 125, 0),
        (True, 2, b"", (1 << 64) - 1, 0),
    ],
)
def test_round_trip(fin: bool, opcode: int, mask: bytes, length: int, flags: int) -> None:
    data = Header.encode_header(fin, opcode, mask, length, flags)
    header = Header.decode_header(io.BytesIO(data + b"rest"))
    assert (header.fin, header.opcode, header.mask) == (fin, opcode, mask)
    assert (header.length, header.flags) == (length, flags)


def test_masking() -> None:
    header = Header(True, 1, 0, 5)
    header.mask = b"\x01\x02\x03\x04"
    masked = header.mask_payload(b"Hello")
    assert masked == bytearray(b"\x49\x67\x6f\x68\x6e")
    assert header.unmask_payload(masked) == b"Hello"


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", WebSocketError),
        (b"\x81", WebSocketError),
        (b"\x81\x7e\x00", WebSocketError),
        (b"\x81\x7f\x00", WebSocketError),
        (b"\x81\x80\x00", WebSocketError),
        (b"\x09\x00", ProtocolError),
        (b"\x89\x7e", FrameTooLargeException),
    ],
)
def test_wrong_heads(data: bytes, error: Any) -> None:
    with pytest.raises(error) as raised:
        Header.decode_header(io.BytesIO(data))
    assert raised.type is error


def test_length_that_no_frame_can_have() -> None:
    with pytest.raises(FrameTooLargeException):
        Header.encode_header(True, 1, b"", 1 << 64)


def test_repr() -> None:
    assert repr(Header(True, 1, 0, 5)) == (
        "<Header fin=True opcode=text(1) length=5 flags=0x0 mask=b''>"
    )
    assert "opcode=reserved(3)" in repr(Header(opcode=3))
