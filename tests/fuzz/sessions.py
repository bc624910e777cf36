"""What one end of a connection makes of the bytes that arrive, in a form that compares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from geventws.core.codec import FrameDecoder, encode_header
from geventws.core.extensions import Extension
from geventws.core.frames import Close, Frame, Opcode
from geventws.core.states import Side, State
from tests.fuzz.builds import BUILDS
from tests.fuzz.chunks import ways_to_cut

__all__ = ["check_session", "masked_frame"]

# Any one; which it is does not matter, and a random one would make inputs that fail at times.
KEY = b"\x37\xfa\x21\x3d"


def masked_frame(head: int, payload: bytes, mask: bool) -> bytes:
    """Return a frame's bytes, which are always the same."""
    header = encode_header(head, len(payload), mask)
    if not mask:
        return header + payload
    return header + KEY + bytes(byte ^ KEY[i % 4] for i, byte in enumerate(payload))


def check_session(
    data: bytes,
    seed: int,
    side: Side,
    extensions: Callable[[], Sequence[Extension]] = tuple,
    **options: Any,
) -> None:
    """Let both builds receive the same bytes, cut in several ways; they must agree.

    Args:
        data: what arrives, and then the end of the stream.
        seed: chooses the cuts.
        side: which end receives it.
        extensions: makes those that were negotiated.
        options: of `Protocol`.
    """
    results = []
    for pieces in ways_to_cut(data, seed % 8):
        both = [Session(build, side, extensions(), options).receive(pieces) for build in BUILDS]
        assert both[0] == both[-1], f"{both[0]} != {both[-1]}"
        # Of a frame that is refused before all of it is there, the journal knows nothing.
        del both[0]["journal"]
        results.append(both[0])
    assert results[1:] == results[:-1], results


class Session:
    """One end of a connection, of one build."""

    def __init__(
        self, build: Any, side: Side, extensions: Sequence[Extension], options: dict[str, Any]
    ) -> None:
        self.protocol = build.protocol.Protocol(side, **options)
        self.protocol.open(extensions)
        self.max_size = options["max_size"]
        self.max_fragments = options["max_fragments"]

    def receive(self, pieces: list[bytes]) -> dict[str, Any]:
        """Receive as `net` does: in a buffer that is used again. Return what came of it."""
        protocol, events = self.protocol, []
        for piece in pieces:
            buffer = bytearray(piece) + bytes(3)
            protocol.decoder.lend(buffer, len(piece))
            events.extend(protocol.events())
            protocol.decoder.keep()
            buffer[:] = b"\xff" * len(buffer)
        error = protocol.receive_eof()
        protocol.end()
        self._check_limits(events)
        closing = protocol.closing
        return {
            "events": [(type(event).__name__, event) for event in events],
            "output": self._check_output(protocol.data_to_send()),
            "closing": (closing.rcvd, closing.sent, closing.rcvd_then_sent),
            "end": str(error),
            "journal": self._check_journal(),
        }

    def _check_limits(self, events: list[Any]) -> None:
        """Whatever arrives, what is kept of it is bounded."""
        size = count = 0
        for event in events:
            if isinstance(event, (str, bytes)):
                assert self.max_size is None or len(event) <= self.max_size
            elif not isinstance(event, Frame):
                size, count = size + len(event.data), count + 1
                assert self.max_size is None or size <= self.max_size
                assert self.max_fragments is None or count <= self.max_fragments
                if event.fin:
                    size = count = 0

    def _check_output(self, output: list[bytes]) -> list[Frame | None]:
        """Return the frames sent, None for the end; they must follow the RFC."""
        decoder = FrameDecoder(self.protocol.side is Side.CLIENT)
        frames: list[Frame | None] = []
        for data in output:
            decoder.feed(data)
            payload = decoder.decode()
            frames.append(None if payload is None else Frame.from_head(decoder.head, payload))
        assert decoder.empty
        # Nothing is sent but pongs, at most one close frame, and then at most the end.
        opcodes = [frame and frame.opcode for frame in frames]
        while opcodes[:1] == [Opcode.PONG]:
            opcodes.pop(0)
        assert opcodes in ([], [None], [Opcode.CLOSE], [Opcode.CLOSE, None]), opcodes
        closing = self.protocol.closing
        closes = [frame for frame in frames if frame and frame.opcode is Opcode.CLOSE]
        assert [Close.parse(frame.data) for frame in closes] == ([closing.sent] * len(closes))
        assert self.protocol.state is State.CLOSED
        return frames

    def _check_journal(self) -> list[str]:
        """Return the lines for the log: each of them one line, and not endless."""
        lines = [line.message % line.args for line in self.protocol.journal.lines]
        for line in lines:
            assert line.isprintable() and len(line) < 300, line
        return lines
