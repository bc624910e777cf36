"""permessage-deflate: any payloads from the peer, and messages to and fro."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from typing import Any

from geventws.core.codec import FrameDecoder
from geventws.core.deflate import TAIL, PerMessageDeflate
from geventws.core.frames import FIN, Opcode
from geventws.core.messages import Fragment
from geventws.core.states import Side
from tests.fuzz.builds import BUILDS
from tests.fuzz.sessions import check_session, masked_frame

# What of the core is tried.
MODULES = ["deflate", "extensions", "messages"]

TOKENS = [
    b"\xf2\x48\xcd\xc9\xc9\x07\x00",
    b"\xf2\x00\x11\x00\x00",
    b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
    b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
    b"\xca\xc9\xc9\x07\x00",
    b"\x00\x00\x00\xff\xff",
    b"\x01\x00\x00\xff\xff",
    b"\x03\x00",
]

SIZES: list[int | None] = [None, 0, 10, 1000]
RSV1 = 0x40

# Bytes of noise for each byte of a payload that stands for it, and at most: more than any window
# has, and than 64 KiB.
TIMES, ENOUGH = 300, 70_000


def check(data: bytes) -> None:
    """Receive frames, or send messages: the first three bytes choose the settings."""
    if len(data) < 3:
        return
    settings, seed, windows, stream = data[0], data[1], data[2], data[3:]
    if settings & 0x80:
        check_there_and_back(settings, windows, stream)
        return
    side = Side.SERVER if settings & 0x40 else Side.CLIENT
    frames = b"".join(
        masked_frame(head, payload, side is Side.SERVER) for head, payload in pieces(stream)
    )
    check_session(
        frames,
        seed,
        side,
        lambda: [PerMessageDeflate(bool(settings & 1), False, 8 + windows % 8, 15)],
        max_size=SIZES[settings >> 1 & 3],
        max_fragments=None if settings & 8 else 3,
        debug=bool(settings & 0x10),
    )


def pieces(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Cut a stream into the first bytes and the payloads of frames."""
    while len(stream) >= 2:
        head, size = stream[0], stream[1]
        # From 192 on, 300 times as many: frames with a length of two bytes.
        size *= 1 if size < 192 else 300
        yield head, stream[2 : 2 + size]
        stream = stream[2 + size :]


def check_there_and_back(settings: int, windows: int, stream: bytes) -> None:
    """Send fragments; they must arrive, and a decoder with just that window must do."""
    bits = 9 + windows % 7
    alone = bool(settings & 1)
    setting = {"level": settings >> 1 & 7, "memLevel": 1 + (windows >> 4) % 9}
    outputs, expected = [], []
    for build in BUILDS:
        sender = build.protocol.Protocol(Side.SERVER, max_size=None)
        receiver = build.protocol.Protocol(Side.CLIENT, max_size=None)
        threshold = settings >> 4 & 7
        sender.open([PerMessageDeflate(False, alone, 15, bits, setting, threshold=threshold)])
        receiver.open([PerMessageDeflate(alone, False, bits, 15)])
        expected = list(send(sender, stream))
        outputs.append(b"".join(sender.data_to_send()))
        receiver.receive_data(outputs[-1])
        assert list(receiver.events()) == expected
    assert outputs[0] == outputs[-1], f"{outputs[0]!r} != {outputs[-1]!r}"
    payloads = [event if isinstance(event, bytes) else event.data for event in expected]
    assert list(inflate(outputs[0], bits, alone)) == payloads


def send(sender: Any, stream: bytes) -> Iterator[Any]:
    """Send fragments, some of noise, and yield what must arrive."""
    is_first = True
    for head, payload in pieces(stream):
        if head & 4:
            payload = random.Random(payload).randbytes(min(TIMES * len(payload), ENOUGH))
        fin = head & FIN != 0
        opcode = Opcode.BINARY if is_first else Opcode.CONT
        sender.send_data(opcode, payload, fin, [None, True, False, None][head & 3])
        yield payload if is_first and fin else Fragment(payload, False, fin)
        is_first = fin


def inflate(output: bytes, bits: int, alone: bool) -> Iterator[bytes]:
    """Decompress frames with zlib alone, and a window of the size that was agreed."""
    decoder = FrameDecoder(False)
    decoder.rsv = RSV1
    decoder.feed(output)
    decompressor = zlib.decompressobj(wbits=-bits)
    compressed = False
    while (payload := decoder.decode()) is not None:
        assert isinstance(payload, bytes)
        fin = decoder.head & FIN
        if decoder.head & 0x0F != Opcode.CONT:
            compressed = bool(decoder.head & RSV1)
        if not compressed:
            yield payload
            continue
        yield decompressor.decompress(payload + (TAIL if fin else b""))
        if fin and alone:
            decompressor = zlib.decompressobj(wbits=-bits)
