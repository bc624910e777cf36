"""Data transfer and closing handshake: one end of a connection (RFC 6455, sections 5 to 7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from geventws.core import output
from geventws.core.closing import close_for
from geventws.core.codec import FrameDecoder
from geventws.core.exceptions import (
    PayloadTooBig,
    ProtocolError,
    TooManyFragments,
)
from geventws.core.frames import WHOLE_BINARY, WHOLE_TEXT, Close, Frame, Opcode
from geventws.core.messages import MAX_FRAGMENTS, Fragment, MessageAssembler
from geventws.core.output import SEND_EOF
from geventws.core.states import Side, State

if TYPE_CHECKING:
    from geventws.core.extensions import Extension

__all__ = ["FAILURES", "MAX_SIZE", "SEND_EOF", "Event", "Protocol"]

# Largest message accepted unless told otherwise: far above usual messages, far below what
# would let a handful of peers exhaust memory.
MAX_SIZE = 2**20

# What `next_event` returns: a message, a part of one, or a control frame.
Event = str | bytes | Fragment | Frame

# What `next_event` raises when the peer breaks a rule or a limit.
FAILURES = (ProtocolError, PayloadTooBig, TooManyFragments, UnicodeDecodeError)


class Protocol(output.Output):
    """One end of a WebSocket connection, without I/O.

    Give it what arrives with `receive_data` and `receive_eof`, take events from `events`,
    and write `data_to_send` to the network after each call. Begin with `open`, after the
    opening handshake.

    Args:
        side: which end this is. 5.1: a client masks its frames, a server does not.
        max_size: largest message in bytes (default 1 MiB), or None; a pair limits messages
            and fragments.
        max_fragments: most fragments of a message (default 4096), or None.
        debug: whether to note in the `journal` what happens.
    """

    __slots__ = (
        "_assembler",
        "_fast",
        "decoder",
        "max_fragments",
        "subprotocol",
    )

    def __init__(
        self,
        side: Side,
        *,
        max_size: int | None | tuple[int | None, int | None] = MAX_SIZE,
        max_fragments: int | None = MAX_FRAGMENTS,
        debug: bool = False,
    ) -> None:
        super().__init__(side, debug)
        # Result of the opening handshake.
        self.subprotocol: str | None = None
        # From bytes to messages.
        size, fragment_size = max_size if isinstance(max_size, tuple) else (max_size, None)
        self.decoder = FrameDecoder(side is Side.SERVER, size, fragment_size)
        self.max_fragments = max_fragments
        # Made for the first frame that is no whole message.
        self._assembler: MessageAssembler | None = None
        # Whether whole messages need no extension and no line in the journal.
        self._fast = False

    @property
    def assembler(self) -> MessageAssembler:
        """What makes messages of frames that are not whole messages."""
        if self._assembler is None:
            self._assembler = MessageAssembler(self.decoder, self.max_fragments)
        return self._assembler

    # Opening and ending.

    def open(self, extensions: Sequence[Extension] = (), subprotocol: str | None = None) -> None:
        """Begin to exchange frames: the opening handshake succeeded.

        Args:
            extensions: those that were negotiated, in the order of the handshake's answer.
            subprotocol: the one that was negotiated, if any.
        """
        if extensions:
            self.encoder.extensions = self.assembler.extensions = tuple(extensions)
        self.subprotocol = subprotocol
        for extension in extensions:
            self.decoder.rsv |= extension.rsv1 << 6 | extension.rsv2 << 5 | extension.rsv3 << 4
        self._fast = not (extensions or self.journal.debug)
        self._set_state(State.OPEN)

    def receive_eof(self) -> EOFError | None:
        """Take the end of the stream: no more bytes will arrive.

        Returns:
            What is wrong with it, if no close frame was received before.
        """
        if self.decoder.discarding or self.state is State.CLOSED:
            return None
        if self.decoder.between_frames:
            self.journal.debug_line("< EOF")
        exc = self.decoder.eof_error()
        self.decoder.discard()
        return exc

    def end(self) -> None:
        """Enter the state CLOSED: TCP is closed (RFC 6455, section 7.1.4)."""
        if self.state is not State.CLOSED:
            self.decoder.discard()
            self._set_state(State.CLOSED)

    # Receiving.

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the network; then look at `events`."""
        self.decoder.feed(data)

    def events(self) -> Iterator[Event]:
        """Yield all that arrived, and react to it as the RFC says.

        What breaks the RFC's rules or a limit is not yielded; it fails the connection.
        Whoever must react at another moment uses `next_event`, `receive_close` and
        `fail_with`, of which this is made.
        """
        try:
            while (event := self.next_event()) is not None:
                if isinstance(event, Frame) and event.opcode is Opcode.CLOSE:
                    self.receive_close(event)
                    if self.closing.rcvd is None:
                        return
                yield event
        except FAILURES as exc:
            self.fail_with(exc)

    def next_event(self) -> Event | None:
        """Return what arrived next, or None when more bytes are needed.

        Raises:
            ProtocolError, PayloadTooBig, TooManyFragments, UnicodeDecodeError: the
                connection must be failed with it: see `fail_with`.
        """
        decoder, assembler = self.decoder, self._assembler
        whole = self._fast and (assembler is None or not assembler.busy)
        data = decoder.decode(whole)
        if data is None:
            if decoder.partial is not None:
                partial, decoder.partial = decoder.partial, None
                self.assembler.receive_partial(decoder.head, partial)
            return None
        if isinstance(data, str):
            return data
        if whole and decoder.head == WHOLE_BINARY:
            return data
        if whole and decoder.head == WHOLE_TEXT:
            return data.decode()
        return self._receive_frame(Frame.from_head(decoder.head, data))

    def _receive_frame(self, frame: Frame) -> Event:
        frame = self.assembler.decode(frame)
        if self.journal.debug:
            self.journal.debug_line("< %s", frame)
        if frame.opcode < Opcode.CLOSE:
            return self.assembler.receive(frame.opcode, frame.data, frame.fin)
        if frame.opcode is Opcode.PING:
            self._answer_ping(frame)
        return frame

    def receive_close(self, frame: Frame) -> None:
        """Take a close frame: answer it, unless it is an answer.

        A close frame that breaks the rules fails the connection instead.
        """
        self.decoder.discard()
        try:
            close = Close.parse(frame.data)
        except (ProtocolError, UnicodeDecodeError) as exc:
            self.fail_with(exc)
            return
        self.closing.receive(close)
        # 5.5.1: "If an endpoint receives a Close frame and did not previously send a Close
        # frame, the endpoint MUST send a Close frame in response."
        if self.closing.sent is None:
            self._send_close_frame(close, frame.data)
        # 7.1.1: "the server MUST close the underlying TCP connection immediately; the client
        # SHOULD wait for the server to close the connection".
        if self.side is Side.SERVER:
            self.send_eof()

    # Closing.

    def fail(self, code: int, reason: str = "") -> None:
        """Fail the connection with a close code and reason (RFC 6455, section 7.1.7)."""
        # 7.1.7: "If _The WebSocket Connection is Established_ prior to the point where the
        # endpoint is required to _Fail the WebSocket Connection_, the endpoint SHOULD send a
        # Close frame with an appropriate status code".
        if self.state is State.OPEN:
            self.send_close(code, reason)
        # 7.1.7: "An endpoint MUST NOT continue to attempt to process data (including a
        # responding Close frame) from the remote endpoint after being instructed to _Fail the
        # WebSocket Connection_."
        self.decoder.discard()
        if self.side is Side.SERVER:
            self.send_eof()

    def fail_with(self, exc: BaseException) -> None:
        """Fail the connection with the close code and reason that an exception calls for."""
        self.fail(*close_for(exc))
