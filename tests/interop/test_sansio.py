"""Our `Protocol` against the one of websockets, back to back and side by side, without I/O."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import PerMessageDeflate as TheirDeflate
from websockets.protocol import State as TheirState
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from geventws.core.codec import FrameDecoder, encode_frame
from geventws.core.deflate import PerMessageDeflate
from geventws.core.frames import Close, Frame, Opcode
from geventws.core.messages import Fragment
from geventws.core.protocol import Event, Protocol
from geventws.core.states import Side

CONT, TEXT, BINARY = Opcode.CONT, Opcode.TEXT, Opcode.BINARY
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG

SESSIONS = 150


class Ours:
    """Our end."""

    def __init__(self, side: Side, deflate: bool, **options: Any) -> None:
        self.protocol = Protocol(side, **options)
        self.protocol.open([PerMessageDeflate(False, False, 12, 12)] if deflate else [])
        # Whether the fragments that arrive belong to a text message.
        self.text = False

    def send(self, frame: Frame) -> None:
        if frame.opcode is PING:
            self.protocol.send_ping(frame.data)
        elif frame.opcode is PONG:
            self.protocol.send_pong(frame.data)
        else:
            self.protocol.send_data(frame.opcode, frame.data, frame.fin)

    def close(self, code: int | None, reason: str) -> None:
        self.protocol.send_close(code, reason)

    def take(self) -> list[bytes]:
        return self.protocol.data_to_send()

    def receive(self, data: bytes) -> list[Event]:
        self.protocol.receive_data(data)
        return list(self.protocol.events())

    def end(self) -> str:
        """Take the end of the stream; return what is wrong with it."""
        error = self.protocol.receive_eof()
        self.protocol.end()
        return str(error or "")

    def expected(self, frames: list[Frame]) -> list[Event]:
        """What arrives here if these frames are sent."""
        events: list[Event] = []
        for frame in frames:
            if frame.opcode >= CLOSE:
                events.append(frame)
            elif frame.opcode is CONT or not frame.fin:
                if frame.opcode is not CONT:
                    self.text = frame.opcode is TEXT
                events.append(Fragment(frame.data, self.text, frame.fin))
            else:
                events.append(frame.data.decode() if frame.opcode is TEXT else frame.data)
        return events

    def result(self) -> tuple[Any, Any, bool | None, str]:
        closing = self.protocol.closing
        return closing.rcvd, closing.sent, closing.rcvd_then_sent, str(closing.exception())


class Theirs:
    """The end of websockets."""

    def __init__(self, side: Side, deflate: bool, **options: Any) -> None:
        state = TheirState.OPEN
        self.protocol: Any
        if side is Side.SERVER:
            self.protocol = ServerProtocol(state=state, **options)
        else:
            self.protocol = ClientProtocol(parse_uri("ws://localhost/"), state=state, **options)
        if deflate:
            self.protocol.extensions = [TheirDeflate(False, False, 12, 12)]

    def send(self, frame: Frame) -> None:
        if frame.opcode is CONT:
            self.protocol.send_continuation(frame.data, frame.fin)
        elif frame.opcode is TEXT:
            self.protocol.send_text(frame.data, frame.fin)
        elif frame.opcode is BINARY:
            self.protocol.send_binary(frame.data, frame.fin)
        elif frame.opcode is PING:
            self.protocol.send_ping(frame.data)
        else:
            self.protocol.send_pong(frame.data)

    def close(self, code: int | None, reason: str) -> None:
        self.protocol.send_close(code, reason)

    def take(self) -> list[bytes]:
        return [bytes(data) for data in self.protocol.data_to_send()]

    def receive(self, data: bytes) -> list[Event]:
        self.protocol.receive_data(data)
        return [
            Frame(Opcode(frame.opcode), bytes(frame.data), frame.fin)
            for frame in self.protocol.events_received()
        ]

    def end(self) -> str:
        self.protocol.receive_eof()
        return str(self.protocol.parser_exc or "")

    @staticmethod
    def expected(frames: list[Frame]) -> list[Event]:
        return list(frames)

    def result(self) -> tuple[Any, Any, bool | None, str]:
        rcvd, sent = self.protocol.close_rcvd, self.protocol.close_sent
        return (
            rcvd and Close(rcvd.code, rcvd.reason),
            sent and Close(sent.code, sent.reason),
            self.protocol.close_rcvd_then_sent,
            str(self.protocol.close_exc),
        )


End = Ours | Theirs


def carry(sender: End, receiver: End, chance: random.Random) -> tuple[list[Event], bool]:
    """Carry bytes in pieces of random size; return what arrived, and whether the stream ended."""
    output = sender.take()
    data = b"".join(output)
    events: list[Event] = []
    while data:
        size = min(len(data), chance.choice([1, 2, 5, 20, 200, 10**6]))
        events += receiver.receive(data[:size])
        data = data[size:]
    return events, b"" in output


class Speaker:
    """Sends messages at random, and remembers in which fragment it is."""

    def __init__(self, end: End, chance: random.Random) -> None:
        self.end = end
        self.chance = chance
        # What is still to be sent of a fragmented message.
        self.rest: list[Frame] = []

    def speak(self) -> list[Frame]:
        """Send a burst of frames."""
        frames = [self._next_frame() for _ in range(self.chance.randrange(1, 5))]
        for frame in frames:
            self.end.send(frame)
        return frames

    def finish(self) -> list[Frame]:
        """Send what is left of a fragmented message."""
        frames, self.rest = self.rest, []
        for frame in frames:
            self.end.send(frame)
        return frames

    def _next_frame(self) -> Frame:
        chance = self.chance
        if chance.random() < 0.25:
            return Frame(chance.choice([PING, PONG]), chance.randbytes(chance.randrange(126)))
        if not self.rest:
            self.rest = self._message()
        return self.rest.pop(0)

    def _message(self) -> list[Frame]:
        chance = self.chance
        size = chance.choice([0, 1, 60, 125, 126, 127, 1000, 65535, 65536, 70000])
        if chance.random() < 0.5:
            opcode, data = TEXT, ("aé€😀" * size).encode()[: size - size % 10]
        else:
            opcode, data = BINARY, chance.randbytes(size)
        cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice([0, 0, 1, 3])))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        return [
            Frame(CONT if i else opcode, piece, i == len(pieces) - 1)
            for i, piece in enumerate(pieces)
        ]


def reaches(frames: list[Frame], sender: End, receiver: End, chance: random.Random) -> None:
    """Check that frames arrive as they were sent, and that pings are answered."""
    events, ended = carry(sender, receiver, chance)
    assert events == receiver.expected(frames)
    assert not ended
    pings = [frame.data for frame in frames if frame.opcode is PING]
    answers, ended = carry(receiver, sender, chance)
    assert answers == [Frame(PONG, data) for data in pings]
    assert not ended


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("side", Side)
def test_random_sessions_back_to_back(side: Side, deflate: bool) -> None:
    other = Side(1 - side)
    for seed in range(SESSIONS):
        chance = random.Random(seed)
        ours, theirs = Ours(side, deflate), Theirs(other, deflate)
        ends: list[tuple[Speaker, End]] = [
            (Speaker(ours, chance), theirs),
            (Speaker(theirs, chance), ours),
        ]
        for _ in range(chance.randrange(8)):
            speaker, receiver = chance.choice(ends)
            reaches(speaker.speak(), speaker.end, receiver, chance)
        for speaker, receiver in ends:
            reaches(speaker.finish(), speaker.end, receiver, chance)
        chance.shuffle(ends)
        speaker, receiver = ends[0]
        closes(speaker.end, receiver, chance)


def closes(closer: End, answerer: End, chance: random.Random) -> None:
    """Check that a closing handshake gives both sides the same result."""
    code = chance.choice([None, 1000, 1001, 1002, 1008, 1011, 3000, 4999])
    reason = chance.choice(["", "bye", "é" * 61]) if code else ""
    closer.close(code, reason)
    payload = Close(code, reason).serialize() if code else b""
    events, closer_ended = carry(closer, answerer, chance)
    assert events == [Frame(CLOSE, payload)]
    events, answerer_ended = carry(answerer, closer, chance)
    assert events == [Frame(CLOSE, payload)]
    # The server is the one to end the stream, as soon as it has sent and received a close frame.
    closer_ended |= b"" in closer.take()
    assert closer_ended is (closer_is_server := closer.protocol.side == Side.SERVER)
    assert answerer_ended is not closer_is_server
    for end in (closer, answerer):
        assert end.end() == ""
    close = Close(code or 1005, reason)
    text = str(close)
    assert closer.result() == (close, close, False, f"sent {text}; then received {text}")
    assert answerer.result() == (close, close, True, f"received {text}; then sent {text}")


# Side by side: both get the same bytes.


def offences(mask: bool) -> Iterator[bytes]:
    """What breaks a rule, each time another one."""

    def frame(head: int, data: bytes = b"", mask: bool = mask) -> bytes:
        return encode_frame(head, data, mask)

    yield frame(0x81, b"Hello", not mask)
    for head in (0xC1, 0xA1, 0x91, 0xC9, 0xC8):
        yield frame(head, b"\x03\xe8")
    for opcode in (3, 7, 11, 15):
        yield frame(0x80 | opcode)
    yield frame(0x89, bytes(126))
    yield frame(0x09)
    yield frame(0x80)
    yield frame(0x00)
    yield frame(0x01) + frame(0x81)
    yield frame(0x01) + frame(0x02)
    yield frame(0x88, b"\x03")
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535):
        yield frame(0x88, code.to_bytes(2, "big"))
    for reason in (b"\xff", b"abc\xe2\x82", b"a\xed\xa0\x80", b"\xf4\x90"):
        yield frame(0x88, b"\x03\xe8" + reason)
    yield frame(0x82, bytes(70001))
    yield frame(0x02, bytes(60000)) + frame(0x80, bytes(10001))


def frames_of(output: list[bytes], masked: bool) -> list[Frame | None]:
    """Output without its random masking keys; None is the end of the stream."""
    frames: list[Frame | None] = []
    decoder = FrameDecoder(masked)
    for data in output:
        decoder.feed(data)
        payload = decoder.decode()
        frames.append(None if payload is None else Frame.from_head(decoder.head, payload))
    return frames


@pytest.mark.parametrize("side", Side)
def test_offences_are_answered_alike(side: Side) -> None:
    mask = side is Side.SERVER
    before = encode_frame(0x81, b"before", mask) + encode_frame(0x89, b"beat", mask)
    after = encode_frame(0x81, b"after", mask)
    for offence in offences(mask):
        ours, theirs = (End(side, False, max_size=70000) for End in (Ours, Theirs))
        for end in (ours, theirs):
            end.receive(before + offence + after)
        answer = frames_of(ours.take(), side is Side.CLIENT)
        assert answer == frames_of(theirs.take(), side is Side.CLIENT), offence[:20]
        assert len(answer) == 2 + (side is Side.SERVER)
        for end in (ours, theirs):
            assert end.end() != "unexpected end of stream"
        assert ours.result() == theirs.result()


@pytest.mark.parametrize("side", Side)
def test_streams_that_end_too_early_are_told_alike(side: Side) -> None:
    mask = side is Side.SERVER
    data = b"".join(
        encode_frame(head, payload, mask)
        for head, payload in [
            (0x81, b"Hello"),
            (0x02, bytes(200)),
            (0x89, b"beat"),
            (0x80, b""),
            (0x82, bytes(65536)),
        ]
    )
    for cut in [*range(260), 300, len(data) - 1, len(data)]:
        ours, theirs = Ours(side, False), Theirs(side, False)
        for end in (ours, theirs):
            end.receive(data[:cut])
        assert ours.end() == theirs.end()
        # What they said before is the same, and nothing is said afterwards.
        assert ours.result() == theirs.result()
        assert ours.protocol.closing.code == theirs.protocol.close_code == 1006
