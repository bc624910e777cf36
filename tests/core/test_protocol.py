"""Protocol: one end of a connection, whatever the other end sends, in pieces of any size."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pytest

from geventws.core.closing import close_for
from geventws.core.codec import FrameDecoder, encode_frame
from geventws.core.deflate import PerMessageDeflate
from geventws.core.exceptions import InvalidState, PayloadTooBig, ProtocolError
from geventws.core.extensions import Extension
from geventws.core.frames import Close, Frame, Opcode
from geventws.core.messages import Fragment
from geventws.core.protocol import FAILURES, SEND_EOF, Event, Protocol
from geventws.core.states import Side, State
from geventws.testing import exchange, protocol_pair

CONT, TEXT, BINARY = Opcode.CONT, Opcode.TEXT, Opcode.BINARY
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG
CLIENT, SERVER = Side.CLIENT, Side.SERVER

# First bytes of frames: a whole message, or a message's first fragment.
FIN = 0x80


def deflate() -> PerMessageDeflate:
    return PerMessageDeflate(False, False, 12, 12)


def opened(side: Side, extensions: Iterable[Extension] = (), **options: Any) -> Protocol:
    protocol = Protocol(side, **options)
    protocol.open(tuple(extensions))
    return protocol


class Peer:
    """Writes what the other end of a side sends."""

    def __init__(self, side: Side) -> None:
        self.mask = side is SERVER

    def __call__(self, opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
        return encode_frame(fin << 7 | rsv << 4 | opcode, data, self.mask)


class Result(NamedTuple):
    """All that can be seen of what a session did to one end."""

    events: list[Event]
    # What `next_event` raised, and its close code and reason.
    error: tuple[type[BaseException], Close] | None
    # What was sent: frames, and the end of the stream.
    sent: list[Frame | bytes]
    rcvd_close: Close | None
    sent_close: Close | None
    state: State
    # Without what arrived if there is an error: a frame refused before it is whole is not noted.
    journal: list[str]


def sent_frames(protocol: Protocol) -> list[Frame | bytes]:
    """Take what a protocol sends; masking keys are random, so look at frames."""
    sent: list[Frame | bytes] = []
    decoder = FrameDecoder(masked=protocol.side is CLIENT)
    decoder.rsv = 0x70
    for data in protocol.data_to_send():
        if data == SEND_EOF:
            sent.append(data)
        else:
            decoder.feed(data)
            payload = decoder.decode()
            assert payload is not None and decoder.between_frames
            sent.append(Frame.from_head(decoder.head, payload))
    return sent


def play(protocol: Protocol, pieces: Iterable[bytes]) -> Result:
    """Play a session to one end."""
    events: list[Event] = []
    error = None
    for piece in pieces:
        protocol.receive_data(piece)
        try:
            while (event := protocol.next_event()) is not None:
                events.append(event)
                if isinstance(event, Frame) and event.opcode is CLOSE:
                    protocol.receive_close(event)
        except FAILURES as exc:
            error = type(exc), close_for(exc)
            protocol.fail_with(exc)
    return Result(
        events,
        error,
        sent_frames(protocol),
        protocol.closing.rcvd,
        protocol.closing.sent,
        protocol.state,
        [line for line in lines(protocol) if not (error and line.startswith("<"))],
    )


def lines(protocol: Protocol) -> list[str]:
    return [line.message % line.args for line in protocol.journal.lines]


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


# Sessions of a peer: name, options, extension or not, frames as arguments for `Peer`.
E_ACUTE = "é".encode()
LIMITS = {"max_size": 1000}
SESSIONS: dict[str, tuple[dict[str, Any], list[tuple[Any, ...]]]] = {
    "messages": ({}, [(TEXT, b"Hello"), (BINARY, b"\x00\xff"), (TEXT, b""), (BINARY, b"")]),
    "fragments": ({}, [(TEXT, b"Hel", False), (CONT, b"", False), (CONT, b"lo")]),
    "cut characters": ({}, [(TEXT, E_ACUTE[:1], False), (CONT, E_ACUTE[1:])]),
    "control frames between fragments": (
        {},
        [(BINARY, b"a", False), (PING, b"1"), (PONG, b"2"), (CONT, b"b"), (PING, b"3")],
    ),
    "close": ({}, [(TEXT, b"Hello"), (CLOSE, b"\x03\xe8bye"), (TEXT, b"ignored")]),
    "empty close": ({}, [(CLOSE, b"")]),
    "close during a message": ({}, [(TEXT, b"Hel", False), (CLOSE, b"\x03\xe9"), (CONT, b"lo")]),
    "not UTF-8": ({}, [(TEXT, b"fine"), (TEXT, b"abc\xff, and more"), (TEXT, b"ignored")]),
    "not UTF-8 in a fragment": ({}, [(TEXT, b"ab", False), (PING,), (CONT, b"c\xff", False)]),
    "not UTF-8 across fragments": ({}, [(TEXT, b"ab\xe2", False), (CONT, b"\x82("), (TEXT,)]),
    "surrogate": ({}, [(TEXT, b"a\xed\xa0\x80")]),
    "text breaks off": ({}, [(TEXT, b"a\xe2\x82")]),
    "fragmented text breaks off": ({}, [(TEXT, b"a\xe2", False), (CONT, b"\x82")]),
    "not UTF-8 in a close reason": ({}, [(CLOSE, b"\x03\xe8ab\xff")]),
    "message in a message": ({}, [(TEXT, b"ab", False), (TEXT, b"cd\xff"), (CONT, b"")]),
    "message in a binary message": ({}, [(BINARY, b"ab", False), (TEXT, b"\xff")]),
    "continuation of nothing": ({}, [(TEXT, b"ab"), (CONT, b"\xffcd")]),
    "reserved bits": ({}, [(TEXT, b"ab"), (TEXT, b"cd", True, 1)]),
    "reserved opcode": ({}, [(TEXT, b"ab"), (3, b"cd")]),
    "fragmented ping": ({}, [(PING, b"ab", False)]),
    "long ping": ({}, [(PING, b"a" * 126)]),
    "short close": ({}, [(CLOSE, b"\x03")]),
    "invalid close": ({}, [(CLOSE, b"\x03\xe7")]),
    "long message": (LIMITS, [(BINARY, b"a" * 1000), (BINARY, b"a" * 1001)]),
    "long fragments": (LIMITS, [(BINARY, b"a" * 600, False), (CONT, b"a" * 600)]),
    "small pairs": (
        {"max_size": (100, 50)},
        [(BINARY, b"a" * 50, False), (CONT, b"a" * 50), (BINARY, b"a" * 51)],
    ),
    "many fragments": (
        {"max_fragments": 3},
        [(TEXT, b"", False), (CONT, b"", False), (CONT, b""), (TEXT, b"a", False)]
        + [(CONT, b"b", False)] * 2
        + [(CONT, b"\xff")],
    ),
}
# Each through an extension as well.
VARIANTS = [
    (name, side, compressed, debug)
    for name in SESSIONS
    for side in Side
    for compressed in (False, True)
    for debug in (False, True)
]


def session(name: str, side: Side, compressed: bool) -> tuple[dict[str, Any], bytes]:
    """The options and the bytes of a session."""
    options, frames = SESSIONS[name]
    peer = Peer(side)
    extension = deflate()
    data = b""
    for opcode, *rest in frames:
        payload, fin, rsv = [*rest, b"", True, 0][: len(rest)] + [b"", True, 0][len(rest) :]
        if compressed and opcode in (CONT, TEXT, BINARY) and not rsv:
            frame = extension.encode(Frame(Opcode(opcode), payload, fin))
            payload, rsv = frame.data, frame.rsv1 << 2
        data += peer(opcode, payload, fin=fin, rsv=rsv)
    return options, data


@pytest.mark.parametrize(("name", "side", "compressed", "debug"), VARIANTS)
def test_how_bytes_arrive_changes_nothing(
    name: str, side: Side, compressed: bool, debug: bool
) -> None:
    options, data = session(name, side, compressed)

    def result(pieces: Iterable[bytes]) -> Result:
        extensions = [deflate()] if compressed else []
        return play(opened(side, extensions, debug=debug, **options), pieces)

    whole = result([data])
    for size in (1, 2, 3, 7):
        assert result(cut(data, size)) == whole
    step = max(1, len(data) // 100)
    for split in range(0, len(data), step):
        assert result([data[:split], data[split:]]) == whole


def random_session(chance: random.Random, peer: Peer) -> bytes:
    """Bytes of a peer that breaks a rule now and then."""
    data = b""
    fragmented = False
    for _ in range(chance.randrange(1, 12)):
        payload = chance.choice(["aé€😀" * chance.randrange(3), "Hello", "x" * 130]).encode()
        if chance.random() < 0.1:
            payload += chance.choice([b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"\xc0"])
        fin = chance.random() < 0.6
        if chance.random() < 0.3:
            opcode = chance.choice([PING, PING, PONG, PONG, CLOSE])
            payload = b"\x03\xe8" * (opcode is CLOSE) + payload[:60]
            data += peer(opcode, payload, fin=chance.random() < 0.95)
            continue
        opcode = CONT if fragmented else chance.choice([TEXT, TEXT, BINARY])
        if chance.random() < 0.05:
            opcode = chance.choice([CONT, TEXT, BINARY])
        cut_at = chance.randrange(len(payload) + 1) if not fin else len(payload)
        data += peer(opcode, payload[:cut_at], fin=fin, rsv=chance.random() < 0.02)
        fragmented = not fin
    return data[: chance.randrange(len(data) + 1)] if chance.random() < 0.3 else data


@pytest.mark.parametrize("side", Side)
def test_how_bytes_arrive_changes_nothing_in_random_sessions(side: Side) -> None:
    chance = random.Random(6455)
    failures = 0
    for _ in range(400):
        data = random_session(chance, Peer(side))
        options: dict[str, Any] = {
            "max_size": chance.choice([None, 100, (300, 50)]),
            "max_fragments": chance.choice([None, 2, 5]),
        }
        whole = play(opened(side, **options), [data])
        assert play(opened(side, **options), cut(data, 1)) == whole
        pieces = []
        while data:
            size = chance.randrange(1, 40)
            pieces.append(data[:size])
            data = data[size:]
        assert play(opened(side, **options), pieces) == whole
        failures += whole.error is not None
    # The sessions are neither all right nor all wrong.
    assert 100 < failures < 350


# Messages and control frames.


@pytest.mark.parametrize("extensions", [False, True])
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("chunk", [None, 1, 10])
def test_both_ends(extensions: bool, debug: bool, chunk: int | None) -> None:
    client, server = protocol_pair(
        [deflate()] if extensions else (), [deflate()] if extensions else (), debug=debug
    )
    for sender, receiver in [(client, server), (server, client)]:
        sender.send_data(TEXT, "héllo".encode())
        sender.send_data(BINARY, b"\x00" * 70000)
        sender.send_data(TEXT, b"Hel", False)
        sender.send_ping(b"1")
        sender.send_data(CONT, b"lo")
        sender.send_pong(b"2")
        assert exchange(sender, receiver, chunk) == [
            "héllo",
            bytes(70000),
            Fragment(b"Hel", True, False),
            Frame(PING, b"1"),
            Fragment(b"lo", True, True),
            Frame(PONG, b"2"),
        ]
        assert exchange(receiver, sender) == [Frame(PONG, b"1")]
    client.send_close(4000, "done")
    assert exchange(client, server) == [Frame(CLOSE, b"\x0f\xa0done")]
    assert exchange(server, client) == [Frame(CLOSE, b"\x0f\xa0done")]
    assert client.closing.code == server.closing.code == 4000
    assert client.closing.rcvd_then_sent is False
    assert server.closing.rcvd_then_sent is True


def test_without_the_opening_handshake_nothing_is_sent() -> None:
    protocol = Protocol(CLIENT)
    assert protocol.state is State.CONNECTING
    for send in (
        lambda: protocol.send_data(TEXT, b""),
        lambda: protocol.send_ping(b""),
        lambda: protocol.send_pong(b""),
        lambda: protocol.send_close(),
    ):
        with pytest.raises(InvalidState, match="^connection is connecting$"):
            send()
    protocol.open(subprotocol="chat")
    assert protocol.state is State.OPEN
    assert protocol.subprotocol == "chat"


@pytest.mark.parametrize("side", Side)
def test_after_a_close_frame_nothing_is_sent(side: Side) -> None:
    protocol = opened(side)
    protocol.send_close()
    for state in ("closing", "closed"):
        for send in (
            lambda: protocol.send_data(TEXT, b""),
            # The order of frames does not matter any more.
            lambda: protocol.send_data(CONT, b""),
            lambda: protocol.send_ping(b""),
            lambda: protocol.send_pong(b""),
            lambda: protocol.send_close(1001),
        ):
            with pytest.raises(InvalidState, match=f"^connection is {state}$"):
                send()
        protocol.end()
    assert sent_frames(protocol) == [Frame(CLOSE, b"\x03\xe8")]


def test_frames_are_sent_in_their_order() -> None:
    protocol = opened(SERVER)
    with pytest.raises(ProtocolError, match="^unexpected continuation frame$"):
        protocol.send_data(CONT, b"")
    protocol.send_data(TEXT, b"", False)
    with pytest.raises(ProtocolError, match="^expected a continuation frame$"):
        protocol.send_data(TEXT, b"")
    assert protocol.data_to_send() == [b"\x01\x00"]


def test_control_frames_have_at_most_125_bytes() -> None:
    protocol = opened(SERVER)
    for send in (protocol.send_ping, protocol.send_pong):
        send(b"a" * 125)
        with pytest.raises(ProtocolError, match="^control frame too long$"):
            send(b"a" * 126)
    assert sent_frames(protocol) == [Frame(PING, b"a" * 125), Frame(PONG, b"a" * 125)]


@pytest.mark.parametrize("compress", [None, False, True])
def test_the_application_may_choose_what_is_compressed(compress: bool | None) -> None:
    protocol = opened(SERVER, [deflate()])
    protocol.send_data(TEXT, b"Hello", compress=compress)
    [frame] = sent_frames(protocol)
    assert isinstance(frame, Frame)
    assert frame.rsv1 is (compress is not False)
    assert (frame.data == b"Hello") is (compress is False)


# Pings.


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("data", [b"", b"beat", b"\x00\xff", bytes(125)])
def test_a_ping_is_answered_with_its_payload(side: Side, data: bytes) -> None:
    result = play(opened(side), [Peer(side)(PING, data)])
    assert result.events == [Frame(PING, data)]
    assert result.sent == [Frame(PONG, data)]


def test_pongs_do_not_wait_behind_messages() -> None:
    peer = Peer(SERVER)
    protocol = opened(SERVER)
    protocol.send_data(TEXT, b"Hello")
    protocol.receive_data(peer(PING, b"1") + peer(PING, b"2"))
    assert list(protocol.events()) == [Frame(PING, b"1"), Frame(PING, b"2")]
    assert sent_frames(protocol) == [
        Frame(PONG, b"1"),
        Frame(PONG, b"2"),
        Frame(TEXT, b"Hello"),
    ]
    protocol.receive_data(peer(PING, b"3"))
    assert list(protocol.events()) == [Frame(PING, b"3")]
    assert sent_frames(protocol) == [Frame(PONG, b"3")]
    assert sent_frames(protocol) == []


def test_a_pong_comes_before_the_close_frame() -> None:
    # 5.5.2: "unless it already received a Close frame".
    peer = Peer(SERVER)
    result = play(opened(SERVER), [peer(PING, b"1") + peer(CLOSE) + peer(PING, b"2")])
    assert result.sent == [Frame(PONG, b"1"), Frame(CLOSE, b""), SEND_EOF]


def test_an_unsolicited_pong_is_not_answered() -> None:
    result = play(opened(CLIENT), [Peer(CLIENT)(PONG, b"1")])
    assert result.events == [Frame(PONG, b"1")]
    assert result.sent == []


# The closing handshake.


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("data", [b"", b"\x03\xe8", b"\x0f\xa0why not", b"\x03\xe8" + b"x" * 123])
@pytest.mark.parametrize("fragmented", [False, True])
def test_a_close_frame_is_answered_with_its_payload(
    side: Side, data: bytes, fragmented: bool
) -> None:
    """Even during a fragmented message: what was begun cannot be finished any more."""
    peer = Peer(side)
    before = peer(BINARY, b"begun", fin=False) if fragmented else b""
    result = play(opened(side), [before + peer(CLOSE, data) + peer(TEXT, b"late") + b"\xff\xff"])
    assert result.events[-1:] == [Frame(CLOSE, data)]
    assert result.error is None
    assert result.sent == [Frame(CLOSE, data)] + [SEND_EOF] * (side is SERVER)
    assert result.rcvd_close == result.sent_close == Close.parse(data)
    assert result.state is State.CLOSING


@pytest.mark.parametrize("side", Side)
def test_the_answer_to_a_close_frame_is_not_answered(side: Side) -> None:
    protocol = opened(side)
    protocol.send_close(1001, "bye")
    assert sent_frames(protocol) == [Frame(CLOSE, b"\x03\xe9bye")]
    assert protocol.state is State.CLOSING
    # Until the peer answers, its messages are received, and its pings answered.
    peer = Peer(side)
    result = play(protocol, [peer(TEXT, b"late") + peer(PING, b"1") + peer(CLOSE, b"\x03\xe9bye")])
    assert result.events == ["late", Frame(PING, b"1"), Frame(CLOSE, b"\x03\xe9bye")]
    assert result.sent == [Frame(PONG, b"1")] + [SEND_EOF] * (side is SERVER)
    assert protocol.closing.rcvd_then_sent is False


def test_sends_a_close_frame_without_a_code() -> None:
    protocol = opened(SERVER)
    protocol.send_close(None)
    assert sent_frames(protocol) == [Frame(CLOSE, b"")]
    assert protocol.closing.sent == Close(1005, "")


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (None, "why", "cannot send a reason without a code"),
        (999, "", "invalid status code"),
        (1005, "", "invalid status code"),
        (1006, "", "invalid status code"),
        (1015, "", "invalid status code"),
        (5000, "", "invalid status code"),
        (1000, "x" * 124, "control frame too long"),
    ],
)
def test_refuses_to_send_what_may_not_be_in_a_close_frame(
    code: int | None, reason: str, error: str
) -> None:
    protocol = opened(SERVER)
    with pytest.raises(ProtocolError, match=f"^{error}$"):
        protocol.send_close(code, reason)
    assert protocol.state is State.OPEN
    assert sent_frames(protocol) == []


# Failing the connection.

Frames = list[bytes]
BAD = b"abc\xff"


def failing(side: Side) -> list[tuple[Frames, int, str]]:
    """What a peer sends, and the code and reason that fail the connection."""
    peer = Peer(side)
    wrong_mask = Peer(Side(1 - side))
    size = 2**20 + 1
    announced = bytes([BINARY, peer.mask << 7 | 127]) + size.to_bytes(8, "big") + bytes(4)
    msb = bytes([FIN | BINARY, peer.mask << 7 | 127]) + (2**63).to_bytes(8, "big")
    thousand = b"a" * 2**19
    invalid = [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535]
    return [
        ([wrong_mask(TEXT, b"Hello")], 1002, "incorrect masking"),
        ([peer(TEXT, b"Hello", rsv=4)], 1002, "reserved bits must be 0"),
        ([peer(TEXT, b"Hello", rsv=2)], 1002, "reserved bits must be 0"),
        ([peer(PING, b"Hello", rsv=1)], 1002, "reserved bits must be 0"),
        ([peer(3)], 1002, "invalid opcode"),
        ([peer(11)], 1002, "invalid opcode"),
        ([peer(PING, b"a" * 126)], 1002, "control frame too long"),
        ([peer(CLOSE, b"\x03\xe8" + b"a" * 124)], 1002, "control frame too long"),
        ([peer(PING, fin=False)], 1002, "fragmented control frame"),
        ([peer(CONT)], 1002, "unexpected continuation frame"),
        ([peer(TEXT, fin=False), peer(BINARY)], 1002, "expected a continuation frame"),
        ([peer(CLOSE, b"\x03")], 1002, "close frame too short"),
        *[
            ([peer(CLOSE, code.to_bytes(2, "big"))], 1002, "invalid status code")
            for code in invalid
        ],
        ([msb], 1002, "most significant bit of payload length must be 0"),
        ([peer(TEXT, BAD)], 1007, "invalid start byte at position 3"),
        ([peer(TEXT, b"a", fin=False), peer(CONT, BAD)], 1007, "invalid start byte at position 4"),
        ([peer(TEXT, b"\xe2\x82")], 1007, "unexpected end of data at position 0"),
        ([peer(CLOSE, b"\x03\xe8" + BAD)], 1007, "invalid start byte at position 3"),
        ([announced], 1009, "frame with 1048577 bytes exceeds limit of 1048576 bytes"),
        (
            [peer(BINARY, thousand, fin=False), peer(CONT, thousand + b"a")],
            1009,
            "frame with 524289 bytes after reading 524288 bytes exceeds limit of 1048576 bytes",
        ),
        ([peer(TEXT, fin=False)] + [peer(CONT, fin=False)] * 4096, 1009, "too many fragments"),
    ]  # fmt: skip


FAILING = [(side, *case) for side in Side for case in failing(side)]


@pytest.mark.parametrize(("side", "frames", "code", "reason"), FAILING)
def test_code_and_reason_of_each_failure(
    side: Side, frames: Frames, code: int, reason: str
) -> None:
    peer = Peer(side)
    before, after = peer(TEXT, b"before") + peer(PING, b"1"), peer(TEXT, b"after")
    protocol = opened(side)
    protocol.receive_data(before + b"".join(frames) + after)
    events = list(protocol.events())
    # What stands before comes out; the offence, and what follows, do not.
    assert events[:2] == ["before", Frame(PING, b"1")]
    assert all(isinstance(event, Fragment) for event in events[2:])
    close = Close(code, reason)
    pong, *sent = sent_frames(protocol)
    assert pong == Frame(PONG, b"1")
    # 7.1.7; a server ends the stream at once, a client waits for that.
    assert sent == [Frame(CLOSE, close.serialize())] + [SEND_EOF] * (side is SERVER)
    assert (protocol.closing.sent, protocol.closing.rcvd) == (close, None)
    assert protocol.state is State.CLOSING
    protocol.receive_data(after + peer(CLOSE, b"\x03\xe8"))
    assert list(protocol.events()) == []
    assert sent_frames(protocol) == []
    assert protocol.closing.code == 1006


@pytest.mark.parametrize("side", Side)
def test_a_failure_while_closing_sends_no_second_close_frame(side: Side) -> None:
    for offence in (Peer(side)(3), Peer(side)(CLOSE, b"\x03")):
        protocol = opened(side)
        protocol.send_close(1000)
        result = play(protocol, [offence])
        assert result.sent == [Frame(CLOSE, b"\x03\xe8")] + [SEND_EOF] * (side is SERVER)
        assert (result.sent_close, result.rcvd_close) == (Close(1000, ""), None)


def test_failing_twice_changes_nothing() -> None:
    protocol = opened(SERVER)
    protocol.fail(1011, "first")
    protocol.fail(1008, "second")
    assert sent_frames(protocol) == [Frame(CLOSE, b"\x03\xf3first"), SEND_EOF]


def test_failing_before_the_opening_handshake_sends_no_frame() -> None:
    protocol = Protocol(SERVER)
    protocol.fail(1011)
    assert protocol.data_to_send() == [SEND_EOF]


# UTF-8 in frames that are not whole.


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("fragmented", [False, True])
def test_text_is_refused_at_its_first_wrong_byte(side: Side, fragmented: bool) -> None:
    """6.4.1 to 6.4.4 of Autobahn: the connection fails long before the frame is whole."""
    peer = Peer(side)
    good, bad = "κόσμε".encode(), b"\xf4\x90"
    protocol = opened(side)
    if fragmented:
        protocol.receive_data(peer(TEXT, good, fin=False))
        assert list(protocol.events()) == [Fragment(good, True, False)]
    frame = peer(CONT if fragmented else TEXT, good + bad + bytes(1000))
    header = len(frame) - 1000 - len(good) - len(bad)
    for byte in cut(frame[: header + len(good) + 1], 1):
        protocol.receive_data(byte)
        assert list(protocol.events()) == []
        assert protocol.state is State.OPEN
    protocol.receive_data(frame[header + len(good) + 1 :][:1])
    assert list(protocol.events()) == []
    position = len(good) * (1 + fragmented)
    assert protocol.closing.sent == Close(1007, f"invalid continuation byte at position {position}")


def test_a_compressed_text_is_looked_at_when_its_frame_is_whole() -> None:
    data = deflate().encode(Frame(TEXT, b"abc\xff" * 10)).data
    frame = Peer(CLIENT)(TEXT, data, rsv=4)
    protocol = opened(CLIENT, [deflate()])
    protocol.receive_data(frame[:-1])
    assert list(protocol.events()) == []
    assert protocol.state is State.OPEN
    protocol.receive_data(frame[-1:])
    assert list(protocol.events()) == []
    assert protocol.closing.sent == Close(1007, "invalid start byte at position 3")


# Limits.


def limited(side: Side, max_size: Any, frames: Iterable[bytes], compressed: bool) -> Result:
    protocol = opened(side, [deflate()] if compressed else [], max_size=max_size)
    return play(protocol, frames)


def compressed_frames(side: Side, *payloads: bytes) -> list[bytes]:
    """One message in compressed fragments."""
    peer, extension = Peer(side), deflate()
    frames = []
    for i, payload in enumerate(payloads):
        fin = i == len(payloads) - 1
        frame = extension.encode(Frame(CONT if i else BINARY, payload, fin))
        frames.append(peer(frame.opcode, frame.data, fin=fin, rsv=frame.rsv1 << 2))
    return frames


def plain_frames(side: Side, *payloads: bytes) -> list[bytes]:
    """One message in fragments."""
    peer = Peer(side)
    last = len(payloads) - 1
    return [
        peer(CONT if i else BINARY, payload, fin=i == last) for i, payload in enumerate(payloads)
    ]


# max_size, sizes of a message's fragments, and what is too much, plain and compressed.
TOO_BIG: list[tuple[Any, list[int], str | None, str | None]] = [
    (None, [2**21], None, None),
    ((None, None), [2**21, 2**21], None, None),
    (1000, [1000], None, None),
    (
        1000,
        [1001],
        "frame with 1001 bytes exceeds limit of 1000 bytes",
        "frame exceeds limit of 1000 bytes",
    ),
    (1000, [600, 400], None, None),
    (
        1000,
        [600, 401],
        "frame with 401 bytes after reading 600 bytes exceeds limit of 1000 bytes",
        "frame after reading 600 bytes exceeds limit of 1000 bytes",
    ),
    (
        1000,
        [1000, 0, 1],
        "frame with 1 bytes after reading 1000 bytes exceeds limit of 1000 bytes",
        None,
    ),
    ((1000, 600), [600, 400], None, None),
    (
        (1000, 600),
        [601],
        "frame with 601 bytes exceeds limit of 600 bytes",
        "frame exceeds limit of 600 bytes",
    ),
    (
        (1000, 600),
        [600, 500],
        "frame with 500 bytes after reading 600 bytes exceeds limit of 1000 bytes",
        "frame after reading 600 bytes exceeds limit of 1000 bytes",
    ),
    (
        (None, 600),
        [600, 600, 601],
        "frame with 601 bytes exceeds limit of 600 bytes",
        "frame exceeds limit of 600 bytes",
    ),
    (
        (None, 60),
        [60, 61],
        "frame with 61 bytes exceeds limit of 60 bytes",
        "frame exceeds limit of 60 bytes",
    ),
    (
        (1000, None),
        [1001],
        "frame with 1001 bytes exceeds limit of 1000 bytes",
        "frame exceeds limit of 1000 bytes",
    ),
]


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize(("max_size", "sizes", "plain", "compressed"), TOO_BIG)
def test_limits_hold_for_messages_and_fragments(
    side: Side, max_size: Any, sizes: list[int], plain: str | None, compressed: str | None
) -> None:
    payloads = [bytes(size) for size in sizes]
    result = limited(side, max_size, plain_frames(side, *payloads), False)
    assert result.error == (plain and (PayloadTooBig, Close(1009, plain)))
    assert len(result.events) == len(sizes) - bool(plain)
    if compressed or not plain:
        result = limited(side, max_size, compressed_frames(side, *payloads), True)
        assert result.error == (compressed and (PayloadTooBig, Close(1009, compressed)))
        assert len(result.events) == len(sizes) - bool(compressed)


@pytest.mark.parametrize(("count", "fails"), [(4096, False), (4097, True)])
def test_the_default_limit_of_fragments(count: int, fails: bool) -> None:
    frames = plain_frames(SERVER, *[b""] * count)
    result = play(opened(SERVER), frames)
    assert (result.error is not None) is fails
    assert len(result.events) == 4096
    assert play(opened(SERVER, max_fragments=None), frames).error is None


def test_errors_of_extensions_fail_the_connection() -> None:
    peer = Peer(SERVER)
    result = play(opened(SERVER, [deflate()]), [peer(TEXT, b"\xff\xff", rsv=4)])
    assert result.error == (ProtocolError, Close(1002, "decompression failed"))
    frames = [peer(TEXT, b"", fin=False, rsv=4), peer(CONT, b"", rsv=4)]
    result = play(opened(SERVER, [deflate()]), frames)
    assert result.error == (ProtocolError, Close(1002, "RSV1 bit set in continuation frame"))


def test_extensions_decode_in_the_reverse_order_and_use_their_bits() -> None:
    class Append(Extension):
        def __init__(self, mark: bytes, rsv2: bool, rsv3: bool) -> None:
            self.mark = mark
            self.rsv2, self.rsv3 = rsv2, rsv3

        def encode(self, frame: Frame, *, compress: bool | None = None) -> Frame:
            if frame.opcode >= CLOSE:
                return frame
            rsv2, rsv3 = frame.rsv2 or self.rsv2, frame.rsv3 or self.rsv3
            return frame._replace(data=frame.data + self.mark, rsv2=rsv2, rsv3=rsv3)

        def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
            if frame.opcode >= CLOSE:
                return frame
            assert frame.data.endswith(self.mark)
            rsv2, rsv3 = frame.rsv2 and not self.rsv2, frame.rsv3 and not self.rsv3
            return frame._replace(data=frame.data.removesuffix(self.mark), rsv2=rsv2, rsv3=rsv3)

    extensions = [Append(b"1", True, False), Append(b"2", False, True)]
    client, server = protocol_pair(extensions, extensions)
    client.send_data(TEXT, b"Hello")
    client.send_ping(b"beat")
    assert exchange(client, server) == ["Hello", Frame(PING, b"beat")]
    # RSV1 is no one's.
    server.receive_data(Peer(SERVER)(TEXT, b"12", rsv=4))
    assert list(server.events()) == []
    assert server.closing.sent == Close(1002, "reserved bits must be 0")


# The end of the stream.


@pytest.mark.parametrize("side", Side)
def test_the_stream_ends_between_frames(side: Side) -> None:
    for data in (b"", Peer(side)(TEXT, b"Hello"), Peer(side)(TEXT, b"Hello", fin=False)):
        protocol = opened(side, debug=True)
        protocol.receive_data(data)
        events = list(protocol.events())
        assert len(events) == bool(data)
        error = protocol.receive_eof()
        assert type(error) is EOFError and str(error) == "unexpected end of stream"
        assert lines(protocol)[-1] == "< EOF"
        # Nothing follows.
        assert protocol.receive_eof() is None
        protocol.receive_data(Peer(side)(TEXT, b"late"))
        assert list(protocol.events()) == []
        assert type(protocol.closing.exception()).__name__ == "ConnectionClosedError"
        assert protocol.closing.code == 1006


@pytest.mark.parametrize(
    ("side", "data", "error"),
    [
        (CLIENT, b"\x81", "stream ends after 1 bytes, expected 2 bytes"),
        (CLIENT, b"\x81\x04", "stream ends after 0 bytes, expected 4 bytes"),
        (CLIENT, b"\x81\x04ab", "stream ends after 2 bytes, expected 4 bytes"),
        (CLIENT, b"\x81\x7e\x01", "stream ends after 1 bytes, expected 2 bytes"),
        (CLIENT, b"\x81\x7e\x01\x00ab", "stream ends after 2 bytes, expected 256 bytes"),
        (CLIENT, b"\x81\x7f\x00\x00", "stream ends after 2 bytes, expected 8 bytes"),
        (SERVER, b"\x81\x84\x01", "stream ends after 1 bytes, expected 4 bytes"),
        (SERVER, b"\x81\xfe\x01\x00\x01\x02", "stream ends after 2 bytes, expected 4 bytes"),
        (SERVER, b"\x81\x84\x01\x02\x03\x04a", "stream ends after 1 bytes, expected 4 bytes"),
        (SERVER, b"\x89\x84\x01\x02\x03\x04a", "stream ends after 1 bytes, expected 4 bytes"),
    ],
)
def test_the_stream_ends_inside_a_frame(side: Side, data: bytes, error: str) -> None:
    for size in (1, len(data)):
        protocol = opened(side, debug=True)
        for piece in cut(data, size):
            protocol.receive_data(piece)
            assert list(protocol.events()) == []
        assert str(protocol.receive_eof()) == error
        assert protocol.receive_eof() is None
        assert "< EOF" not in lines(protocol)


@pytest.mark.parametrize("side", Side)
def test_the_end_of_the_stream_is_right_after_the_closing_handshake(side: Side) -> None:
    protocol = opened(side)
    assert play(protocol, [Peer(side)(CLOSE, b"\x03\xe8")]).state is State.CLOSING
    assert protocol.receive_eof() is None
    protocol.end()
    assert protocol.state is State.CLOSED
    assert str(protocol.closing.exception()) == "received 1000 (OK); then sent 1000 (OK)"
    assert protocol.receive_eof() is None


def test_the_stream_ends_before_the_close_frame_is_answered() -> None:
    protocol = opened(CLIENT)
    protocol.send_close()
    assert str(protocol.receive_eof()) == "unexpected end of stream"
    assert str(protocol.closing.exception()) == "sent 1000 (OK); no close frame received"


def test_sends_the_end_of_the_stream_once() -> None:
    protocol = opened(CLIENT)
    protocol.send_eof()
    protocol.send_eof()
    assert protocol.eof_sent
    assert protocol.data_to_send() == [SEND_EOF]


def test_ends_once_and_takes_nothing_afterwards() -> None:
    protocol = opened(SERVER, debug=True)
    protocol.end()
    protocol.end()
    assert lines(protocol).count("= connection is CLOSED") == 1
    assert play(protocol, [Peer(SERVER)(TEXT, b"late")]).events == []


# The journal.


def test_the_journal_of_a_session() -> None:
    client, server = protocol_pair(debug=True)
    client.send_data(TEXT, b"Hello")
    client.send_ping(b"beat")
    exchange(client, server)
    server.send_data(BINARY, b"\x00\xff\xfe")
    exchange(server, client)
    client.send_close()
    exchange(client, server)
    exchange(server, client)
    client.end()
    server.end()
    assert lines(server) == [
        "= connection is CONNECTING",
        "= connection is OPEN",
        "< TEXT 'Hello' [5 bytes]",
        "< PING 'beat' [text, 4 bytes]",
        "> PONG 'beat' [text, 4 bytes]",
        "> BINARY 00 ff fe [3 bytes]",
        "< CLOSE 1000 (OK) [2 bytes]",
        "> CLOSE 1000 (OK) [2 bytes]",
        "= connection is CLOSING",
        "> EOF",
        "= connection is CLOSED",
    ]
    assert lines(client) == [
        "= connection is CONNECTING",
        "= connection is OPEN",
        "> TEXT 'Hello' [5 bytes]",
        "> PING 'beat' [text, 4 bytes]",
        "< PONG 'beat' [text, 4 bytes]",
        "< BINARY 00 ff fe [3 bytes]",
        "> CLOSE 1000 (OK) [2 bytes]",
        "= connection is CLOSING",
        "< CLOSE 1000 (OK) [2 bytes]",
        "= connection is CLOSED",
    ]


def test_without_debug_the_journal_stays_empty() -> None:
    result = play(opened(SERVER), [Peer(SERVER)(TEXT, b"Hello"), Peer(SERVER)(3)])
    assert result.journal == []


# What a peer can make us spend.


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_frame_byte_by_byte_costs_a_few_times_its_size(opcode: Opcode) -> None:
    size = 2**15
    frame = encode_frame(FIN | opcode, b"a" * size, True)
    protocol = opened(SERVER)
    tracemalloc.start()
    try:
        for i in range(len(frame) - 1):
            protocol.receive_data(frame[i : i + 1])
            assert protocol.next_event() is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * size
    protocol.receive_data(frame[-1:])
    assert protocol.next_event() == (b"a" * size if opcode is BINARY else "a" * size)


def test_empty_fragments_without_end_cost_nothing() -> None:
    """What is counted is `max_fragments`; nothing of a fragment stays in the protocol."""
    protocol = opened(SERVER, max_fragments=None)
    peer = Peer(SERVER)
    protocol.receive_data(peer(TEXT, fin=False))
    assert protocol.next_event() == Fragment(b"", True, False)
    fragment = peer(CONT, fin=False)
    tracemalloc.start()
    try:
        for _ in range(20000):
            protocol.receive_data(fragment)
            assert protocol.next_event() == Fragment(b"", True, False)
        current, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert current < 2**14 and peak < 2**15
