"""PerMessageDeflate: two of them back to back, the RFC's bytes, bombs, and websockets."""

from __future__ import annotations

import itertools
import json
import random
import sys
import tracemalloc
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from websockets import frames as peer_frames
from websockets.extensions.permessage_deflate import PerMessageDeflate as PeerPerMessageDeflate

from geventws.core.deflate import MAX_FINAL_BLOCKS, PerMessageDeflate
from geventws.core.exceptions import PayloadTooBig, ProtocolError
from geventws.core.frames import Frame, Opcode

TAIL = b"\x00\x00\xff\xff"

# RFC 7692, section 7.2.3.1: "Hello" in one block, with its last 4 octets removed.
HELLO = bytes.fromhex("f2 48 cd c9 c9 07 00")

# Section 7.2.3.4: the same in a block with BFINAL, an empty block behind it.
HELLO_FINAL = bytes.fromhex("f3 48 cd c9 c9 07 00 00")

# A block with BFINAL that contains nothing.
EMPTY_FINAL = bytes.fromhex("03 00")

CONFIGURATIONS = [
    (no_takeover, bits, settings)
    for no_takeover in (False, True)
    for bits in range(9, 16)
    for settings in (None, {"memLevel": 5}, {"level": 0})
]


def plain(no_takeover: bool = False, bits: int = 15, **options: Any) -> PerMessageDeflate:
    """Make an extension that is the same both ways."""
    return PerMessageDeflate(no_takeover, no_takeover, bits, bits, **options)


def some_messages(seed: int = 7692) -> list[bytes]:
    """Messages that compress well, badly, across messages, and beyond small windows."""
    rng = random.Random(seed)
    record = {"id": 1, "name": "permessage-deflate", "tags": ["a", "b"]}
    repeated = json.dumps([{**record, "id": number} for number in range(20)]).encode()
    noise = rng.randbytes(3000)
    return [
        b"Hello",
        b"",
        b"Hello",
        b"",
        b"",
        repeated,
        noise,
        repeated,
        noise + noise,
        b"\x00" * 100_000,
        rng.randbytes(70_000),
        b"x",
        repeated * 20,
    ]


def fragments(data: bytes, sizes: Iterable[int]) -> Iterator[Frame]:
    """Split a payload into the frames of one message; what the sizes leave is the last."""
    opcode, position = Opcode.BINARY, 0
    for size in sizes:
        yield Frame(opcode, data[position : position + size], fin=False)
        opcode, position = Opcode.CONT, position + size
    yield Frame(opcode, data[position:])


def compressed(payload: bytes, sizes: Iterable[int] = ()) -> list[Frame]:
    """Make the frames of a compressed message from what they carry."""
    first, *others = fragments(payload, sizes)
    return [first._replace(rsv1=True), *others]


def receive(extension: Any, frames: Iterable[Frame], max_size: int | None = None) -> bytes:
    """Decode the frames of one message, and return the message."""
    decoded = [extension.decode(frame, max_size=max_size) for frame in frames]
    assert not any(frame.rsv1 for frame in decoded)
    assert [frame.fin for frame in decoded] == [False] * (len(decoded) - 1) + [True]
    return b"".join(frame.data for frame in decoded)


# Back to back


@pytest.mark.parametrize(("no_takeover", "bits", "settings"), CONFIGURATIONS)
@pytest.mark.parametrize("is_fragmented", [False, True])
def test_round_trip(no_takeover: bool, bits: int, settings: Any, is_fragmented: bool) -> None:
    sender = PerMessageDeflate(False, no_takeover, 15, bits, settings)
    receiver = PerMessageDeflate(no_takeover, False, bits, 15)
    for message in some_messages():
        third = len(message) // 3
        sizes = [0, third, 0, third] if is_fragmented else []
        sent = [sender.encode(frame) for frame in fragments(message, sizes)]
        assert [frame.rsv1 for frame in sent] == [True] + [False] * len(sizes)
        assert receive(receiver, sent, max_size=len(message)) == message


@pytest.mark.parametrize("no_takeover", [False, True])
def test_compressed_message_split_everywhere(no_takeover: bool) -> None:
    sender, receiver = plain(no_takeover), plain(no_takeover)
    message = b"Hello, hello, world! " * 4
    length = len(sender.encode(Frame(Opcode.TEXT, message)).data)
    receive(receiver, [plain(no_takeover).encode(Frame(Opcode.TEXT, message))])
    for first in range(length + 1):
        for second in range(length + 1 - first):
            payload = sender.encode(Frame(Opcode.TEXT, message)).data
            frames = compressed(payload, [first, second])
            assert receive(receiver, frames, len(message)) == message


def test_compressed_message_split_into_single_bytes() -> None:
    sender, receiver = plain(bits=9), plain(bits=9)
    for message in some_messages()[:8]:
        payload = sender.encode(Frame(Opcode.TEXT, message)).data
        assert receive(receiver, compressed(payload, [1] * len(payload))) == message


def test_random_fragments_on_both_sides() -> None:
    rng = random.Random(6455)
    sender, receiver = plain(bits=10), plain(bits=10)
    for message in some_messages() * 3:
        sizes = [rng.randrange(len(message) + 1) // 4 for _ in range(rng.randrange(5))]
        sent = [sender.encode(frame) for frame in fragments(message, sizes)]
        payload = b"".join(frame.data for frame in sent)
        sizes = [rng.randrange(len(payload) + 1) // 4 for _ in range(rng.randrange(5))]
        assert receive(receiver, compressed(payload, sizes), len(message)) == message


@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
def test_everything_but_payload_and_rsv1_stays(opcode: Opcode) -> None:
    frame = Frame(opcode, b"Hello", rsv2=True, rsv3=True)
    encoded = plain().encode(frame)
    assert encoded == Frame(opcode, HELLO, rsv1=True, rsv2=True, rsv3=True)
    assert plain().decode(encoded) == frame


@pytest.mark.parametrize("opcode", [Opcode.CLOSE, Opcode.PING, Opcode.PONG])
@pytest.mark.parametrize("compress", [None, False, True])
def test_control_frames_are_left_alone(opcode: Opcode, compress: bool | None) -> None:
    sender, receiver = plain(), plain()
    control = Frame(opcode, b"Hello")
    first, last = fragments(b"HelloHello", [5])
    received = []
    for frame in (first, control, last):
        encoded = sender.encode(frame, compress=compress if frame is control else None)
        received.append(receiver.decode(encoded, max_size=10))
        if frame is control:
            assert encoded is control
            assert received[-1] is control
    assert received == [first, control, last]


# The RFC's bytes


@pytest.mark.parametrize(
    ("section", "frames", "message"),
    [
        ("7.2.3.1", [(HELLO, True)], b"Hello"),
        ("7.2.3.1", [(HELLO[:3], False), (HELLO[3:], True)], b"Hello"),
        ("7.2.3.3", [(bytes.fromhex("00 05 00 fa ff 48 65 6c 6c 6f 00"), True)], b"Hello"),
        ("7.2.3.4", [(HELLO_FINAL, True)], b"Hello"),
        ("7.2.3.5", [(bytes.fromhex("f2 48 05 00 00 00 ff ff ca c9 c9 07 00"), True)], b"Hello"),
        ("7.2.3.6", [(HELLO + TAIL, False), (b"\x00", True)], b"Hello"),
        ("7.2.3.6", [(b"\x00", True)], b""),
    ],
)
@pytest.mark.parametrize("no_takeover", [False, True])
def test_examples(
    section: str, frames: list[tuple[bytes, bool]], message: bytes, no_takeover: bool
) -> None:
    receiver = plain(no_takeover)
    for _ in range(3):
        opcodes = [Opcode.TEXT] + [Opcode.CONT] * (len(frames) - 1)
        received = [
            Frame(opcode, data, fin, rsv1=opcode is Opcode.TEXT)
            for opcode, (data, fin) in zip(opcodes, frames, strict=True)
        ]
        assert receive(receiver, received, max_size=5) == message


def test_example_of_a_shared_window() -> None:
    """Section 7.2.3.2: a second "Hello" refers to the first, unless there is no takeover."""
    again = bytes.fromhex("f2 00 11 00 00")
    sender, receiver = plain(), plain()
    for payload in (HELLO, again):
        assert sender.encode(Frame(Opcode.TEXT, b"Hello")).data == payload
        assert receive(receiver, compressed(payload)) == b"Hello"
    forgetful = plain(no_takeover=True)
    for _ in range(2):
        assert forgetful.encode(Frame(Opcode.TEXT, b"Hello")).data == HELLO
    receive(forgetful, compressed(HELLO))
    with pytest.raises(ProtocolError, match="decompression failed"):
        receive(forgetful, compressed(again))


@pytest.mark.parametrize("no_takeover", [False, True])
def test_empty_message_is_one_byte(no_takeover: bool) -> None:
    sender = plain(no_takeover)
    for _ in range(3):
        assert sender.encode(Frame(Opcode.TEXT, b"")) == Frame(Opcode.TEXT, b"\x00", rsv1=True)
        sender.encode(Frame(Opcode.TEXT, b"Hello"))


def test_window_of_8_bits() -> None:
    """zlib cannot compress for it, so what it gets comes from a compressor without history."""
    receiver = plain_receiver(8)
    for message in some_messages():
        compressor = zlib.compressobj(wbits=-15, strategy=zlib.Z_HUFFMAN_ONLY)
        payload = compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH)
        assert receive(receiver, compressed(payload.removesuffix(TAIL))) == message


def plain_receiver(bits: int) -> PerMessageDeflate:
    return PerMessageDeflate(False, False, bits, 15)


def test_peer_that_uses_a_window_of_9_bits_for_8() -> None:
    sender, receiver = plain(bits=9), plain_receiver(8)
    for message in some_messages():
        assert receive(receiver, [sender.encode(Frame(Opcode.BINARY, message))]) == message


# Blocks with BFINAL


@pytest.mark.parametrize("no_takeover", [False, True])
@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (HELLO_FINAL, b"Hello"),
        # a sender that leaves out the empty block behind the final one
        (HELLO_FINAL[:-1], b"Hello"),
        (HELLO_FINAL[:-1] + HELLO, b"HelloHello"),
        (HELLO_FINAL[:-1] * 3 + b"\x00", b"HelloHelloHello"),
        (EMPTY_FINAL + b"\x00", b""),
        (EMPTY_FINAL * 2 + HELLO, b"Hello"),
        (HELLO + TAIL + HELLO_FINAL, b"HelloHello"),
    ],
)
def test_final_blocks(no_takeover: bool, payload: bytes, message: bytes) -> None:
    receiver = plain(no_takeover)
    for first in range(len(payload) + 1):
        assert receive(receiver, compressed(payload), max_size=len(message)) == message
        if first < len(payload):
            frames = compressed(payload, [first])
            assert receive(receiver, frames, max_size=len(message)) == message
        assert receive(receiver, compressed(HELLO), max_size=5) == b"Hello"
        assert receive(receiver, compressed(payload, [1] * (len(payload) - 1))) == message


def test_what_looks_like_the_tail_after_a_final_block() -> None:
    """A block without compression whose header begins with the same 4 octets."""
    content = bytes(0xFF00)
    payload = HELLO_FINAL[:-1] + b"\x00" + bytes.fromhex("00 ff ff 00") + content + b"\x00"
    for size in range(len(HELLO_FINAL) + 5):
        assert receive(plain(), compressed(payload, [size])) == b"Hello" + content


def test_final_blocks_respect_max_size() -> None:
    payload = HELLO_FINAL[:-1] * 3 + b"\x00"
    for max_size in range(15):
        with pytest.raises(PayloadTooBig, match=f"frame exceeds limit of {max_size} bytes"):
            plain().decode(*compressed(payload), max_size=max_size)
    assert plain().decode(*compressed(payload), max_size=15).data == b"Hello" * 3


def test_number_of_final_blocks_is_limited() -> None:
    receiver = plain()
    payload = EMPTY_FINAL * MAX_FINAL_BLOCKS + HELLO
    assert receive(receiver, compressed(payload, [len(payload)])) == b"Hello"
    with pytest.raises(ProtocolError, match="too many final blocks"):
        receive(receiver, compressed(EMPTY_FINAL * 500_000))


# What a peer may not send


@pytest.mark.parametrize("rsv1", [False, True])
def test_rsv1_is_for_the_first_frame_of_a_message(rsv1: bool) -> None:
    receiver = plain()
    receiver.decode(Frame(Opcode.TEXT, b"", fin=False, rsv1=rsv1))
    with pytest.raises(ProtocolError, match="^RSV1 bit set in continuation frame$"):
        receiver.decode(Frame(Opcode.CONT, HELLO, rsv1=True))


@pytest.mark.parametrize("fin", [False, True])
@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\xff\xff\xff\xff", id="block of an unknown type"),
        pytest.param(b"\x00\x05\x00\x00\x00Hello", id="length unlike its complement"),
        pytest.param(bytes.fromhex("f2 00 11 00 00"), id="reference before the beginning"),
        pytest.param(zlib.compress(b"Hello" * 99), id="zlib header"),
    ],
)
def test_not_deflate(payload: bytes, fin: bool) -> None:
    with pytest.raises(ProtocolError, match="^decompression failed$") as raised:
        plain().decode(Frame(Opcode.TEXT, payload, fin, rsv1=True), max_size=1000)
    assert isinstance(raised.value.__cause__, zlib.error)


def test_reference_beyond_the_negotiated_window() -> None:
    noise = random.Random(1).randbytes(1000)
    sender, wide, narrow = plain(), plain(bits=10), plain(bits=9)
    frames = [sender.encode(frame) for frame in fragments(noise + noise, [len(noise)])]
    assert receive(wide, frames) == noise + noise
    with pytest.raises(ProtocolError, match="decompression failed"):
        receive(narrow, frames)


# Limits


@pytest.mark.parametrize("is_fragmented", [False, True])
@pytest.mark.parametrize("message", some_messages())
def test_max_size_is_exact(message: bytes, is_fragmented: bool) -> None:
    payload = plain().encode(Frame(Opcode.BINARY, message)).data
    frame = Frame(Opcode.BINARY, payload, fin=not is_fragmented, rsv1=True)
    for max_size in (len(message), len(message) + 1, sys.maxsize - 1, sys.maxsize, sys.maxsize + 1):
        assert plain().decode(frame, max_size=max_size).data == message
    assert plain().decode(frame).data == message
    for max_size in {0, len(message) // 2, max(0, len(message) - 1)} - {len(message)}:
        with pytest.raises(PayloadTooBig) as raised:
            plain().decode(frame, max_size=max_size)
        assert str(raised.value) == f"frame exceeds limit of {max_size} bytes"
        assert raised.value.size is None


def test_tail_respects_max_size() -> None:
    """What is appended to a payload cut off in the middle can itself decompress to bytes."""
    cut = bytes.fromhex("00 06 00 f9 ff 48 65")
    assert receive(plain(), compressed(cut), max_size=6) == b"He" + TAIL
    for max_size in range(6):
        with pytest.raises(PayloadTooBig):
            receive(plain(), compressed(cut), max_size=max_size)


@pytest.mark.parametrize("fin", [False, True])
@pytest.mark.parametrize("final", [False, True])
def test_bomb(fin: bool, final: bool) -> None:
    compressor = zlib.compressobj(wbits=-15)
    bomb = compressor.compress(bytes(10 * 2**20))
    bomb += compressor.flush(zlib.Z_FINISH if final else zlib.Z_SYNC_FLUSH)
    if final:
        bomb = HELLO_FINAL[:-1] + bomb
    receiver = plain()
    receiver.decode(Frame(Opcode.TEXT, HELLO, rsv1=True), max_size=5)
    frame = Frame(Opcode.BINARY, bomb, fin, rsv1=True)
    tracemalloc.start()
    try:
        with pytest.raises(PayloadTooBig, match="^frame exceeds limit of 1000 bytes$"):
            receiver.decode(frame, max_size=1000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1000 + 2 * len(bomb) + 2**17


# The choice of the sender


def messages_as_sent(extension: PerMessageDeflate, compress: bool | None) -> list[bool]:
    """Send messages of 0, 9, 10 and 11 bytes, and tell which are compressed."""
    sent = [extension.encode(Frame(Opcode.TEXT, b"x" * n), compress=compress) for n in (0, 9, 10)]
    sent += [
        extension.encode(Frame(Opcode.TEXT, b"x" * 11, fin=False), compress=compress),
        extension.encode(Frame(Opcode.CONT, b"")),
    ]
    return [frame.rsv1 for frame in sent[:-1]]


@pytest.mark.parametrize(
    ("threshold", "compress", "expected"),
    [
        (0, None, [True] * 4),
        (10, None, [False, False, True, True]),
        (sys.maxsize, None, [False] * 4),
        (0, False, [False] * 4),
        (sys.maxsize, True, [True] * 4),
    ],
)
def test_which_messages_are_compressed(
    threshold: int, compress: bool | None, expected: list[bool]
) -> None:
    assert messages_as_sent(plain(threshold=threshold), compress) == expected


@pytest.mark.parametrize("no_takeover", [False, True])
def test_all_frames_of_a_message_follow_the_first(no_takeover: bool) -> None:
    message = b"Hello, hello, world! " * 20
    sender, receiver = plain(no_takeover, threshold=10), plain(no_takeover)
    choices = itertools.product((None, False, True), (None, False, True), (0, 9, 10, 200))
    for first_choice, other_choice, size in choices:
        first, last = fragments(message, [size])
        sent = [
            sender.encode(first, compress=first_choice),
            sender.encode(last, compress=other_choice),
        ]
        is_compressed = size >= 10 if first_choice is None else first_choice
        assert sent[0].rsv1 is is_compressed
        assert (sent == [first, last]) is not is_compressed
        if not is_compressed:
            assert sent[0] is first
            assert sent[1] is last
        received = [receiver.decode(frame, max_size=len(message)) for frame in sent]
        assert received == [first, last]
        if not is_compressed:
            assert received[0] is first
            assert received[1] is last


def test_uncompressed_message_does_not_touch_the_contexts() -> None:
    sender, receiver = plain(), plain()
    mixed = [
        (b"Hello", True, HELLO),
        (b"Something else entirely", False, b"Something else entirely"),
        (b"Hello", True, bytes.fromhex("f2 00 11 00 00")),
    ]
    for message, compress, payload in mixed:
        frame = sender.encode(Frame(Opcode.TEXT, message), compress=compress)
        assert frame.data == payload
        assert receiver.decode(frame, max_size=len(message)).data == message


# Memory


def test_contexts_are_made_when_first_used() -> None:
    tracemalloc.start()
    try:
        extension = plain()
        extension.encode(Frame(Opcode.TEXT, b"Hello"), compress=False)
        extension.decode(Frame(Opcode.TEXT, b"Hello"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert extension._compressor is None
    assert extension._decompressor is None
    assert peak < 4096
    assert not hasattr(extension, "__dict__")


@pytest.mark.parametrize("no_takeover", [False, True])
def test_contexts_are_freed_at_the_end_of_a_message(no_takeover: bool) -> None:
    sender, receiver = plain(no_takeover), plain(no_takeover)
    first, last = (sender.encode(frame) for frame in fragments(b"HelloHello", [5]))
    receiver.decode(first)
    assert receiver._decompressor is not None
    receiver.decode(last)
    assert (sender._compressor is None) is no_takeover
    assert (receiver._decompressor is None) is no_takeover


# What people see


@pytest.mark.parametrize(("remote", "local"), [(7, 15), (16, 15), (15, 8), (15, 16)])
def test_impossible_windows_are_refused(remote: int, local: int) -> None:
    with pytest.raises(ValueError, match="_max_window_bits must be between"):
        PerMessageDeflate(False, False, remote, local)


def test_repr_and_equality() -> None:
    extension = PerMessageDeflate(True, False, 9, 12, {"level": 1}, 7)
    assert repr(extension) == (
        "PerMessageDeflate(remote_no_context_takeover=True, local_no_context_takeover=False, "
        "remote_max_window_bits=9, local_max_window_bits=12, compress_settings={'level': 1}, "
        "threshold=7)"
    )
    assert eval(repr(extension)) == extension
    assert extension != PerMessageDeflate(True, False, 9, 12, {"level": 1})
    assert extension != "permessage-deflate"


# With websockets at the other end


def to_peer(frame: Frame) -> peer_frames.Frame:
    return peer_frames.Frame(peer_frames.Opcode(frame.opcode), *frame[1:])


def from_peer(frame: peer_frames.Frame) -> Frame:
    return Frame(
        Opcode(frame.opcode), bytes(frame.data), frame.fin, frame.rsv1, frame.rsv2, frame.rsv3
    )


@pytest.mark.parametrize("no_takeover", [False, True])
@pytest.mark.parametrize("bits", [9, 12, 15])
@pytest.mark.parametrize("compress", [None, False, True])
def test_websockets_reads_what_we_write(
    no_takeover: bool, bits: int, compress: bool | None
) -> None:
    sender = plain(no_takeover, bits, threshold=100)
    receiver = PeerPerMessageDeflate(no_takeover, no_takeover, bits, bits)
    for message in some_messages():
        for sizes in ([], [len(message) // 2, 0]):
            frames = [
                receiver.decode(to_peer(sender.encode(frame, compress=compress)), max_size=2**20)
                for frame in fragments(message, sizes)
            ]
            assert b"".join(frame.data for frame in frames) == message


@pytest.mark.parametrize("no_takeover", [False, True])
@pytest.mark.parametrize("bits", [9, 12, 15])
def test_we_read_what_websockets_writes(no_takeover: bool, bits: int) -> None:
    sender = PeerPerMessageDeflate(no_takeover, no_takeover, bits, bits)
    receiver = plain(no_takeover, bits)
    for message in some_messages():
        for sizes in ([], [len(message) // 2, 0]):
            frames = [
                from_peer(sender.encode(to_peer(frame))) for frame in fragments(message, sizes)
            ]
            assert receive(receiver, frames, max_size=len(message)) == message
