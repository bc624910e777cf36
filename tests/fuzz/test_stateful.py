"""Two protocols, joined by a channel that splits, delays and cuts bytes anywhere.

Hypothesis chooses what is sent, how it travels and when the channel breaks; a model decides
what must arrive. `make test` always tries the same examples, `make faults` many others.
"""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from geventws.core.codec import FrameDecoder
from geventws.core.deflate import PerMessageDeflate
from geventws.core.exceptions import ConnectionClosedOK
from geventws.core.extensions import Extension
from geventws.core.frames import OK_CLOSE_CODES, Close, Frame, Opcode
from geventws.core.messages import Fragment
from geventws.core.output import SEND_EOF
from geventws.core.protocol import Protocol
from geventws.core.states import Side, State
from tests.modes import LONG

MAX_SIZE, MAX_FRAGMENTS = 300, 4
TOO_BIG = 1009

sides = st.sampled_from(Side)
messages = st.one_of(
    st.text(max_size=20),
    st.binary(max_size=20),
    # Around the limit, and what compresses well.
    st.integers(0, 400).map(lambda size: "é" * (size // 2)),
    st.integers(MAX_SIZE - 1, MAX_SIZE + 1).map(bytes),
)
cuts = st.lists(st.integers(0, 400), min_size=1, max_size=5)
counts = st.integers(1, 6)
closes = st.builds(
    Close, st.sampled_from([1000, 1001, 1002, 1011, 3000, 4999, 1005]), st.text(max_size=30)
)
# What ends a session happens at 0 only.
chances = st.integers(0, 4)
sizes = st.integers(1, 10) | st.integers(1, 1000)


class End:
    """One end: a protocol, what is under way to it, and what the model says of it."""

    def __init__(self, side: Side, extensions: list[Extension]) -> None:
        self.protocol = Protocol(side, max_size=MAX_SIZE, max_fragments=MAX_FRAGMENTS)
        self.protocol.open(extensions)
        self.peer = self
        # What is under way to this end; whether the stream ends behind it, and has ended here.
        self.channel = b""
        self.ending = self.ended = False
        # Whether something that was under way is lost.
        self.is_cut = False
        # What was sent to this end and has not arrived: messages, fragments and pings.
        self.expected: list[Any] = []
        # Whether behind that comes something that is too big.
        self.fails = False
        # Size and number of the fragments that were sent to this end.
        self.size = self.count = 0
        # Pings that this end sent and that are not answered.
        self.pings: list[bytes] = []
        # Whether the closing handshake was begun here.
        self.closed = False
        # What this end still has to send of a fragmented message.
        self.rest: list[tuple[Opcode, bytes, bool, Fragment]] = []

    @property
    def is_open(self) -> bool:
        return self.protocol.state is State.OPEN

    def send(self, opcode: Opcode, data: bytes, fin: bool, event: Any) -> None:
        """Send a message or a fragment, and tell the model of the peer."""
        self.protocol.send_data(opcode, data, fin)
        (output,) = self.protocol.data_to_send()
        self.peer.travel(output)
        if not self.peer.fails:
            self.peer.expect(event, len(data), payload_size(output))

    def expect(self, event: Any, size: int, encoded: int) -> None:
        """Decide whether something that was sent is within the limits, and so must arrive."""
        size += self.size
        self.fails = size > MAX_SIZE or encoded > MAX_SIZE - self.size
        if isinstance(event, Fragment):
            self.count += 1
            self.fails |= self.count > MAX_FRAGMENTS
            self.size, self.count = (0, 0) if event.fin else (size, self.count)
        if not self.fails:
            self.expected.append(event)

    def flush(self) -> None:
        """Put under way what the protocol wants to send."""
        for data in self.protocol.data_to_send():
            self.peer.travel(data)

    def travel(self, data: bytes) -> None:
        """Put something under way to this end."""
        if not self.is_cut:
            assert not self.ending
            self.channel += data
            self.ending = data == SEND_EOF

    def receive(self, size: int) -> None:
        """Let some of what is under way arrive."""
        data, self.channel = self.channel[:size], self.channel[size:]
        self.protocol.receive_data(data)
        for event in self.protocol.events():
            self.check(event)
        if self.ending and not self.channel and not self.ended:
            self.ended = True
            self.protocol.receive_eof()
        self.flush()

    def check(self, event: Any) -> None:
        """Compare what arrived with what was sent."""
        if isinstance(event, Frame) and event.opcode is Opcode.PONG:
            assert event.data == self.pings.pop(0)
        elif isinstance(event, Frame) and event.opcode is Opcode.CLOSE:
            assert Close.parse(event.data) == self.peer.protocol.closing.sent
            assert not self.expected
        else:
            assert event == self.expected.pop(0)

    def check_end(self) -> None:
        """Everything that was sent has arrived, unless a limit or a cut stood before it."""
        closing, theirs = self.protocol.closing, self.peer.protocol.closing
        if not self.is_cut:
            assert not self.expected
            assert closing.rcvd == (None if self.fails else theirs.sent)
            # A close frame is answered; and it may have sent one before it had to fail.
            assert closing.sent or not (self.fails or closing.rcvd)
            assert self.closed or not self.fails or closing.sent.code == TOO_BIG
        if not self.is_cut and not self.peer.is_cut and not (self.fails or closing.rcvd):
            assert not self.peer.pings
        self.protocol.end()
        codes = {close.code if close else None for close in (closing.rcvd, closing.sent)}
        assert isinstance(closing.exception(), ConnectionClosedOK) is (codes <= OK_CLOSE_CODES)


def payload_size(output: bytes) -> int:
    """Return how long the payload of a frame is on the wire."""
    decoder = FrameDecoder(bool(output[1] & 0x80))
    decoder.rsv = 0x70
    decoder.feed(output)
    payload = decoder.decode()
    assert payload is not None and decoder.empty
    return len(payload)


class Channel(RuleBasedStateMachine):
    """What may happen, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: dict[Side, End] = {}

    @initialize(deflate=st.booleans(), alone=st.booleans(), bits=st.integers(9, 15))
    def open(self, deflate: bool, alone: bool, bits: int) -> None:
        for side in Side:
            extension = PerMessageDeflate(alone, alone, bits, bits)
            self.ends[side] = End(side, [extension] if deflate else [])
        for side in Side:
            self.ends[side].peer = self.ends[Side(1 - side)]

    @rule(side=sides, message=messages)
    def send(self, side: Side, message: str | bytes) -> None:
        end = self.ends[side]
        if end.is_open and not end.rest:
            text = isinstance(message, str)
            data = message.encode() if isinstance(message, str) else message
            end.send(Opcode.TEXT if text else Opcode.BINARY, data, True, message)

    @rule(side=sides, message=messages, cuts=cuts, count=counts)
    def begin(self, side: Side, message: str | bytes, cuts: list[int], count: int) -> None:
        """Send the first fragments of a message, cut between any two bytes."""
        end = self.ends[side]
        if end.is_open and not end.rest:
            text = isinstance(message, str)
            data = message.encode() if isinstance(message, str) else message
            places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
            for number, start in enumerate(places[:-1]):
                stop, fin = places[number + 1], number == len(places) - 2
                opcode = Opcode.TEXT if text else Opcode.BINARY
                fragment = Fragment(data[start:stop], text, fin)
                end.rest.append((opcode if not number else Opcode.CONT, *fragment[::2], fragment))
            self.go_on(side, count)

    @rule(side=sides, count=counts)
    def go_on(self, side: Side, count: int) -> None:
        """Send the next fragments."""
        end = self.ends[side]
        while end.is_open and end.rest and count:
            end.send(*end.rest.pop(0))
            count -= 1

    @rule(side=sides, data=st.binary(max_size=125))
    def ping(self, side: Side, data: bytes) -> None:
        end = self.ends[side]
        if end.is_open:
            end.protocol.send_ping(data)
            end.pings.append(data)
            if not end.peer.fails:
                end.peer.expected.append(Frame(Opcode.PING, data))
            end.flush()

    @rule(side=sides, close=closes, chance=chances)
    def close(self, side: Side, close: Close, chance: int) -> None:
        end = self.ends[side]
        if end.is_open and not chance:
            end.closed = True
            if close.code == 1005:
                end.protocol.send_close(None)
            else:
                end.protocol.send_close(close.code, close.reason)
            end.flush()

    @rule(side=sides, size=sizes)
    def arrive(self, side: Side, size: int) -> None:
        self.ends[side].receive(size)

    @rule(side=sides, size=sizes, chance=chances)
    def cut(self, side: Side, size: int, chance: int) -> None:
        """Lose what is under way to an end, but for the beginning, and all that follows."""
        end = self.ends[side]
        if len(end.channel) > size and not chance:
            end.is_cut = end.ending = True
            end.channel = end.channel[:size]

    def teardown(self) -> None:
        """Let everything arrive."""
        ends = list(self.ends.values())
        for end in [*ends, *ends, *ends]:
            end.receive(len(end.channel))
        for end in ends:
            end.check_end()


TestChannel = Channel.TestCase
TestChannel.settings = settings(
    max_examples=10_000 if LONG else 80,
    stateful_step_count=60 if LONG else 30,
    derandomize=not LONG,
    # To look for a shorter example takes minutes.
    phases=[Phase.generate, Phase.shrink] if LONG else [Phase.generate],
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
