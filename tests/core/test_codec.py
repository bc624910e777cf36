"""Frame codec: RFC 6455, section 5.2, bit by bit, and byte by byte."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator

import pytest
from websockets.streams import StreamReader

from geventws.core.codec import FrameDecoder, encode_frame
from geventws.core.exceptions import PayloadTooBig, ProtocolError
from geventws.core.masking import apply_mask

TEXT, BINARY, CONT, CLOSE, PING, PONG = 0x81, 0x82, 0x80, 0x88, 0x89, 0x8A

KIB, MIB = 2**10, 2**20


def decode(decoder: FrameDecoder) -> tuple[int, bytes] | None:
    """Decode one frame; return its first byte and its payload."""
    payload = decoder.decode()
    return None if payload is None else (decoder.head, payload)


def decode_all(data: bytes, masked: bool = False) -> list[tuple[int, bytes]]:
    """Decode bytes given at once."""
    decoder = FrameDecoder(masked)
    decoder.feed(data)
    return list(decode_rest(decoder))


def decode_rest(decoder: FrameDecoder) -> Iterator[tuple[int, bytes]]:
    """Decode all frames that are there."""
    while (frame := decode(decoder)) is not None:
        yield frame


# Encoding.


def test_examples_of_the_rfc() -> None:
    # 5.7, "Examples".
    assert encode_frame(TEXT, b"Hello", False) == bytes.fromhex("810548656c6c6f")
    assert encode_frame(0x01, b"Hel", False) == bytes.fromhex("010348656c")
    assert encode_frame(CONT, b"lo", False) == bytes.fromhex("80026c6f")
    assert encode_frame(PING, b"Hello", False) == bytes.fromhex("890548656c6c6f")
    assert encode_frame(BINARY, bytes(256), False)[:4] == bytes.fromhex("827e0100")
    assert encode_frame(BINARY, bytes(65536), False)[:10] == bytes.fromhex("827f0000000000010000")
    masked = bytes.fromhex("818537fa213d7f9f4d5158")
    assert decode_all(masked, masked=True) == [(TEXT, b"Hello")]


@pytest.mark.parametrize(
    ("size", "length"),
    [
        (0, "00"),
        (1, "01"),
        (125, "7d"),
        (126, "7e007e"),
        (127, "7e007f"),
        (65535, "7effff"),
        (65536, "7f0000000000010000"),
        (65537, "7f0000000000010001"),
    ],
)
def test_lengths_both_ways(size: int, length: str) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    header = bytes([BINARY]) + bytes.fromhex(length)
    assert encode_frame(BINARY, payload, False) == header + payload
    assert decode_all(header + payload) == [(BINARY, payload)]

    masked = encode_frame(BINARY, payload, True)
    size_of_header = len(header)
    key = masked[size_of_header : size_of_header + 4]
    assert masked[:size_of_header] == header[:1] + bytes([header[1] | 0x80]) + header[2:]
    assert masked[size_of_header + 4 :] == apply_mask(payload, key, 0, len(payload))
    assert decode_all(masked, masked=True) == [(BINARY, payload)]


def test_each_frame_has_another_masking_key() -> None:
    # 5.3: "The masking key needs to be unpredictable".
    keys = {encode_frame(BINARY, b"", True)[2:] for _ in range(100)}
    assert len(keys) > 90
    assert {len(key) for key in keys} == {4}


def test_masking_keys_are_the_operating_system_s(monkeypatch: pytest.MonkeyPatch) -> None:
    # 5.3: "derived from a strong source of entropy".
    monkeypatch.setattr("os.urandom", lambda size: b"\x01\x02\x03\x04"[:size])
    assert encode_frame(BINARY, bytes(4), True)[2:] == b"\x01\x02\x03\x04" * 2


def test_a_length_that_is_longer_than_need_be_is_understood() -> None:
    # 5.2 binds the sender: "the minimal number of bytes MUST be used to encode the length".
    assert decode_all(bytes.fromhex("827e0001") + b"a") == [(BINARY, b"a")]
    assert decode_all(bytes.fromhex("827f0000000000000000")) == [(BINARY, b"")]


# Decoding.

FRAMES = [
    (TEXT, b"Hello"),
    (0x01, "é".encode()[:1]),
    (PING, b""),
    (CONT, "é".encode()[1:]),
    (BINARY, bytes(range(126))),
    (PONG, b"x" * 125),
    (BINARY, b"y" * 70000),
    (CLOSE, b"\x03\xe8"),
]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 13, 125, 4096, 65536, 10**6])
def test_frames_do_not_depend_on_how_they_arrive(masked: bool, size: int) -> None:
    data = b"".join(encode_frame(head, payload, masked) for head, payload in FRAMES)
    decoder = FrameDecoder(masked)
    frames: list[tuple[int, bytes]] = []
    for start in range(0, len(data), size):
        decoder.feed(data[start : start + size])
        frames.extend(decode_rest(decoder))
    assert frames == FRAMES
    assert decoder.between_frames and decoder.empty


def test_decodes_one_frame_at_a_time() -> None:
    decoder = FrameDecoder(masked=False)
    decoder.feed(encode_frame(TEXT, b"one", False))
    # What is not decoded stays, in order, when more arrives.
    decoder.feed(encode_frame(TEXT, b"two", False) + b"\x81")
    assert decode(decoder) == (TEXT, b"one")
    assert not decoder.empty and not decoder.between_frames
    decoder.feed(b"\x05three")
    assert decode(decoder) == (TEXT, b"two")
    assert decode(decoder) == (TEXT, b"three")
    assert decoder.empty and decoder.between_frames
    assert decode(decoder) is None
    decoder.feed(b"")
    assert decoder.empty


def test_data_frames_show_what_is_there_of_their_payload() -> None:
    decoder = FrameDecoder(masked=True)
    # 5.7: "A single-frame masked text message".
    frame = bytes.fromhex("818537fa213d7f9f4d5158")
    seen = []
    for byte in frame:
        decoder.feed(bytes([byte]))
        item = decode(decoder)
        seen.append(decoder.partial)
        decoder.partial = None
    assert seen == [None] * 5 + [b"", b"H", b"e", b"l", b"l", None]
    assert item == (TEXT, b"Hello")


def test_control_frames_are_shown_whole() -> None:
    decoder = FrameDecoder(masked=False)
    decoder.feed(encode_frame(PING, b"Hello", False)[:-1])
    assert decode(decoder) is None
    assert decoder.partial is None
    decoder.feed(b"o")
    assert decode(decoder) == (PING, b"Hello")


# What is refused.


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("header", "reason"),
    [
        *[(f"{0x80 | opcode:02x}00", "invalid opcode") for opcode in (3, 4, 5, 6, 7)],
        *[(f"{0x80 | opcode:02x}00", "invalid opcode") for opcode in (11, 12, 13, 14, 15)],
        *[(f"{0x81 | bits:02x}00", "reserved bits must be 0") for bits in range(16, 128, 16)],
        *[(f"{0x89 | bits:02x}00", "reserved bits must be 0") for bits in range(16, 128, 16)],
        ("887e", "control frame too long"),
        ("897e", "control frame too long"),
        ("8a7f", "control frame too long"),
        ("0800", "fragmented control frame"),
        ("0900", "fragmented control frame"),
        ("0a00", "fragmented control frame"),
        (
            "827f8000000000000000",
            "most significant bit of payload length must be 0",
        ),
        (
            "827fffffffffffffffff",
            "most significant bit of payload length must be 0",
        ),
    ],
)
def test_rules_of_headers(header: str, reason: str, masked: bool) -> None:
    data = bytearray.fromhex(header)
    data[1] |= masked << 7
    for size in (1, len(data)):
        decoder = FrameDecoder(masked)
        with pytest.raises(ProtocolError) as info:
            for start in range(0, len(data), size):
                decoder.feed(bytes(data[start : start + size]))
                assert decode(decoder) is None
        assert str(info.value) == reason


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("head", [TEXT, BINARY, PING, CLOSE])
def test_masking_is_for_clients_alone(masked: bool, head: int) -> None:
    with pytest.raises(ProtocolError, match="^incorrect masking$"):
        decode_all(encode_frame(head, b"", not masked), masked)


def test_the_most_significant_bit_is_refused_whatever_the_limit() -> None:
    decoder = FrameDecoder(masked=False, max_size=10)
    decoder.feed(bytes.fromhex("827f8000000000000000"))
    with pytest.raises(ProtocolError, match="most significant bit"):
        decode(decoder)


def test_negotiated_extensions_free_their_reserved_bits() -> None:
    decoder = FrameDecoder(masked=False)
    decoder.rsv = 0x40
    decoder.feed(b"\xc1\x00\xa1\x00")
    assert decode(decoder) == (0xC1, b"")
    with pytest.raises(ProtocolError, match="^reserved bits must be 0$"):
        decode(decoder)
    # Control frames are never an extension's.
    decoder = FrameDecoder(masked=False)
    decoder.rsv = 0x40
    decoder.feed(b"\xc9\x00")
    with pytest.raises(ProtocolError, match="^reserved bits must be 0$"):
        decode(decoder)


def test_what_stands_before_an_offence_comes_out_first() -> None:
    decoder = FrameDecoder(masked=False)
    decoder.feed(encode_frame(TEXT, b"one", False) + encode_frame(TEXT, b"two", False) + b"\x83\0")
    assert decode(decoder) == (TEXT, b"one")
    assert decode(decoder) == (TEXT, b"two")
    with pytest.raises(ProtocolError):
        decode(decoder)


# Limits.


@pytest.mark.parametrize("limit", [0, 1, 100, 125, 126, 1000, 65535, 65536, 100000])
@pytest.mark.parametrize("kind", ["max_size", "max_fragment_size"])
@pytest.mark.parametrize("masked", [False, True])
def test_limits_are_inclusive_and_looked_at_in_the_header(
    limit: int, kind: str, masked: bool
) -> None:
    decoder = FrameDecoder(masked, **{kind: limit})
    decoder.feed(encode_frame(BINARY, bytes(limit), masked))
    assert decode(decoder) == (BINARY, bytes(limit))
    header = encode_frame(BINARY, bytes(limit + 1), masked)[: -limit - 1]
    decoder.feed(header)
    with pytest.raises(PayloadTooBig) as info:
        decode(decoder)
    assert str(info.value) == f"frame with {limit + 1} bytes exceeds limit of {limit} bytes"


def test_the_message_so_far_counts() -> None:
    decoder = FrameDecoder(masked=False, max_size=1000)
    decoder.message_size = 600
    decoder.feed(encode_frame(CONT, bytes(400), False) + encode_frame(CONT, bytes(401), False))
    assert decode(decoder) == (CONT, bytes(400))
    with pytest.raises(PayloadTooBig) as info:
        decode(decoder)
    assert str(info.value) == (
        "frame with 401 bytes after reading 600 bytes exceeds limit of 1000 bytes"
    )
    decoder = FrameDecoder(masked=False, max_size=1000)
    decoder.message_size = 950
    decoder.feed(encode_frame(CONT, bytes(51), False))
    with pytest.raises(PayloadTooBig, match="after reading 950 bytes"):
        decode(decoder)


def test_with_both_limits_the_one_exceeded_is_named() -> None:
    for size, limit in [(101, 100), (1001, 1000)]:
        decoder = FrameDecoder(masked=False, max_size=1000, max_fragment_size=limit)
        decoder.feed(encode_frame(BINARY, bytes(size), False))
        with pytest.raises(PayloadTooBig, match=f"limit of {limit} bytes"):
            decode(decoder)


def test_limits_do_not_hold_for_control_frames() -> None:
    decoder = FrameDecoder(masked=False, max_size=10, max_fragment_size=10)
    decoder.feed(encode_frame(PING, bytes(125), False))
    assert decode(decoder) == (PING, bytes(125))


# The end of the stream.


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [5, 200, 70000])
def test_the_stream_ends_inside_a_frame_with_the_words_of_websockets(
    masked: bool, size: int
) -> None:
    data = encode_frame(BINARY, bytes(size), masked)
    width = {5: 0, 200: 2, 70000: 8}[size]
    for cut in [*range(1, 20), 100, 300, 69000]:
        if cut >= len(data):
            continue
        decoder = FrameDecoder(masked)
        decoder.feed(encode_frame(TEXT, b"before", masked) + data[:cut])
        assert decode(decoder) == (TEXT, b"before")
        assert decode(decoder) is None
        assert not decoder.between_frames
        # The parts of a frame, as websockets reads them.
        reader = StreamReader()
        reader.feed_data(data[:cut])
        reader.feed_eof()
        with pytest.raises(EOFError) as info:
            for part in (2, width, 4 * masked, size):
                for _ in reader.read_exact(part):
                    pass
        assert str(decoder.eof_error()) == str(info.value)


def test_between_frames() -> None:
    decoder = FrameDecoder(masked=False)
    assert decoder.between_frames
    decoder.feed(encode_frame(TEXT, b"Hello", False))
    assert not decoder.between_frames
    decode(decoder)
    assert decoder.between_frames
    assert str(decoder.eof_error()) == "unexpected end of stream"


@pytest.mark.parametrize("data", [b"", b"\x81", b"\x82\x05abc", b"\x81\x01a\x81\x01b", b"\x83"])
def test_discards(data: bytes) -> None:
    decoder = FrameDecoder(masked=False)
    decoder.feed(data)
    if data.startswith(b"\x82"):
        assert decode(decoder) is None
    decoder.discard()
    assert decode(decoder) is None
    decoder.feed(b"\x83\x00")
    assert decode(decoder) is None
    assert decoder.empty and decoder.between_frames and decoder.discarding


# What a peer can make us spend.


def peak_while_decoding(data: bytes, step: int, size: int) -> int:
    """Feed the beginning of a frame of a size; return how much memory that took at most."""
    decoder = FrameDecoder(masked=True)
    tracemalloc.start()
    try:
        decoder.feed(bytes([BINARY, 0xFF]) + size.to_bytes(8, "big") + b"\1\2\3\4")
        for start in range(0, len(data), step):
            assert decode(decoder) is None
            decoder.feed(data[start : start + step])
        decode(decoder)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("size", "step"), [(64 * KIB, 1), (128 * KIB, 3), (MIB, 100)])
def test_a_frame_in_tiny_pieces_costs_a_few_times_its_size(size: int, step: int) -> None:
    # Pieces, and, when they are joined, the payload.
    assert peak_while_decoding(bytes(size), step, size) < 3 * size


def test_an_announced_length_costs_nothing() -> None:
    assert peak_while_decoding(b"x" * 10, 1, 2**62) < 64 * KIB


def test_nothing_is_left_that_the_next_read_would_be_joined_to() -> None:
    size = 16 * MIB
    decoder = FrameDecoder(masked=True)
    decoder.feed(bytes([BINARY, 0xFF]) + size.to_bytes(8, "big") + bytes(4))
    piece = bytes(64 * KIB)
    for _ in range(size // len(piece)):
        assert decode(decoder) is None
        assert decoder.empty
        decoder.feed(piece)
    assert decode(decoder) == (BINARY, bytes(size))


def seconds_to_decode(size: int) -> float:
    """Decode a frame that arrives in reads of 64 KiB; return the processor's seconds."""
    frame = encode_frame(BINARY, bytes(size), True)
    reads = [frame[start : start + 64 * KIB] for start in range(0, len(frame), 64 * KIB)]
    best = float("inf")
    for _ in range(5):
        decoder = FrameDecoder(masked=True)
        begin = time.process_time()
        for read in reads:
            decoder.feed(read)
            item = decode(decoder)
        best = min(best, time.process_time() - begin)
        assert item is not None and len(item[1]) == size
    return best


def test_large_frames_take_time_in_proportion_to_their_size() -> None:
    # Linear is 16 times as long, quadratic 256 times.
    assert seconds_to_decode(16 * MIB) < 80 * seconds_to_decode(MIB)
