"""Messages: fragmentation, UTF-8, and limits (RFC 6455, sections 5.4 and 8.1)."""

from __future__ import annotations

import codecs
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from geventws.core.codec import UNLIMITED, FrameDecoder, encode_frame, encode_header
from geventws.core.exceptions import PayloadTooBig, ProtocolError, TooManyFragments
from geventws.core.frames import FIN, MAX_CONTROL_PAYLOAD, OPCODE_BITS, Frame, Opcode
from geventws.core.journal import Journal

if TYPE_CHECKING:
    from geventws.core.extensions import Extension

__all__ = ["MAX_FRAGMENTS", "Fragment", "MessageAssembler", "MessageEncoder"]

# Fragments may be empty, so that `max_size` alone does not bound what an endless message
# costs: each fragment is an object. A megabyte in fragments of 256 bytes passes.
MAX_FRAGMENTS = 4096

_new_utf8_decoder = codecs.getincrementaldecoder("utf-8")


# Looking up a member of an enum costs 50 ns.
CONT, TEXT = Opcode.CONT, Opcode.TEXT

# Limits from here on are none.
NO_LIMIT = UNLIMITED // 2


class Fragment(NamedTuple):
    """A part of a fragmented message.

    The parts of a text message may end inside a UTF-8 sequence, but what arrived so far is
    always the beginning of valid UTF-8.
    """

    # The payload of one frame.
    data: bytes
    # Whether it belongs to a text message.
    text: bool
    # Whether it is the message's last.
    fin: bool


class MessageAssembler:
    """Turn data frames into messages and fragments, checking their order and content.

    Args:
        decoder: the decoder of the same connection; it learns how large the message under
            way is, because it is what refuses a frame by its announced length.
        max_fragments: most fragments of one message, or None.
    """

    __slots__ = (
        "_checked",
        "_count",
        "_decoder",
        "_position",
        "_utf8",
        "busy",
        "extensions",
        "max_fragments",
        "opcode",
    )

    def __init__(self, decoder: FrameDecoder, max_fragments: int | None = MAX_FRAGMENTS) -> None:
        self.max_fragments = max_fragments
        # Those that were negotiated, in the order in which they encode.
        self.extensions: Sequence[Extension] = ()
        # Opcode of the fragmented message under way; None between messages.
        self.opcode: Opcode | None = None
        # Whether it knows anything of a message that is not whole.
        self.busy = False
        self._decoder = decoder
        # Fragments of the message under way.
        self._count = 0
        # Incremental UTF-8 decoder of the text message under way, how many bytes of the
        # message it has seen, and how many of those belong to the frame under way.
        self._utf8: codecs.IncrementalDecoder | None = None
        self._position = 0
        self._checked = 0

    def decode(self, frame: Frame) -> Frame:
        """Undo what extensions did to a frame.

        Raises:
            PayloadTooBig: what comes out is over a limit.
            ProtocolError: an extension cannot decode it.
        """
        decoder = self._decoder
        for extension in reversed(self.extensions):
            # Limits hold for what comes out of the extension as well: a few bytes may become
            # gigabytes.
            limit = min(decoder.max_fragment_size, decoder.max_size - decoder.message_size)
            try:
                frame = extension.decode(frame, max_size=limit if limit < NO_LIMIT else None)
            except PayloadTooBig as exc:
                if limit == decoder.max_fragment_size:
                    raise
                raise PayloadTooBig(None, decoder.max_size, decoder.message_size) from exc
        return frame

    def receive(self, opcode: int, data: bytes, fin: bool) -> str | bytes | Fragment:
        """Take a whole data frame.

        Returns:
            The message, if the frame is one: `str` or `bytes`; else a `Fragment`.

        Raises:
            ProtocolError: the frame is not what may follow.
            TooManyFragments: the message has more than ``max_fragments``.
            UnicodeDecodeError: a text message is not UTF-8.
        """
        self._check_place(opcode, fin)
        if opcode != Opcode.CONT:
            if fin:
                self._reset()
                return data.decode() if opcode == Opcode.TEXT else data
            self.opcode = Opcode(opcode)
            self.busy = True
        return self._receive_fragment(data, fin)

    def _check_place(self, opcode: int, fin: bool) -> None:
        """Check that a data frame may follow what the message under way has."""
        # 5.4: "The fragments of one message MUST NOT be interleaved between the fragments of
        # another message unless an extension has been negotiated that can interpret the
        # interleaving."
        if opcode == Opcode.CONT:
            if self.opcode is None:
                raise ProtocolError("unexpected continuation frame")
        elif self.opcode is not None:
            raise ProtocolError("expected a continuation frame")
        elif fin:
            return
        if self.max_fragments is not None and self._count >= self.max_fragments:
            raise TooManyFragments(self.max_fragments)

    def _receive_fragment(self, data: bytes, fin: bool) -> Fragment:
        text = self.opcode is Opcode.TEXT
        self._count += 1
        if text:
            self._check_utf8(data[self._checked :], fin)
            self._checked = 0
        self._decoder.message_size += len(data)
        if fin:
            self._reset()
        return Fragment(data, text, fin)

    def receive_partial(self, head: int, data: bytes) -> None:
        """Take a part of a data frame that is not whole yet, to refuse early what is wrong.

        Raises:
            ProtocolError, TooManyFragments, UnicodeDecodeError: as `receive` does.
        """
        if self.extensions:
            # Only a whole frame can be decoded.
            return
        self._check_place(head & OPCODE_BITS, head & FIN != 0)
        # 8.1: "When an endpoint is to interpret a byte stream as UTF-8 but finds that the
        # byte stream is not, in fact, a valid UTF-8 stream, that endpoint MUST _Fail the
        # WebSocket Connection_."
        if Opcode.TEXT in (head & OPCODE_BITS, self.opcode):
            self.busy = True
            self._check_utf8(data, False)
            self._checked += len(data)

    def _check_utf8(self, data: bytes, fin: bool) -> None:
        if self._utf8 is None:
            self._utf8 = _new_utf8_decoder()
        begin = self._position - len(self._utf8.getstate()[0])
        self._position += len(data)
        try:
            self._utf8.decode(data, fin)
            rest = self._utf8.getstate()[0]
            # Python waits for the third byte of a surrogate, though no byte can save it.
            if b"\xed\xa0" <= rest <= b"\xed\xbf":
                begin = self._position - len(rest)
                rest.decode()
        except UnicodeDecodeError as exc:
            # Positions count from the beginning of the message, which is not there any more:
            # `str(exc)` would look up the wrong byte in its last piece.
            if begin:
                exc.object = b""
            exc.start += begin
            exc.end += begin
            raise

    def _reset(self) -> None:
        """Be ready for the next message."""
        self.opcode = self._utf8 = None
        self.busy = False
        self._count = self._position = self._checked = 0
        self._decoder.message_size = 0


class MessageEncoder:
    """Turn messages, fragments, and control frames into bytes.

    Args:
        mask: whether to mask frames. 5.1: "a client MUST mask all frames that it sends to
            the server", "A server MUST NOT mask any frames that it sends to the client."
        journal: where frames are noted.
    """

    __slots__ = ("_journal", "_mask", "extensions", "opcode")

    def __init__(self, mask: bool, journal: Journal) -> None:
        # Those that were negotiated, in the order in which they encode.
        self.extensions: Sequence[Extension] = ()
        # Opcode of the fragmented message under way; None between messages.
        self.opcode: Opcode | None = None
        self._mask = mask
        self._journal = journal

    def encode_data(
        self, opcode: Opcode, data: bytes, fin: bool = True, compress: bool | None = None
    ) -> bytes:
        """Return a data frame as it goes over the wire.

        Args:
            opcode: `Opcode.TEXT` or `Opcode.BINARY`, after a first fragment `Opcode.CONT`.
            data: the payload; UTF-8 for text, which is not checked.
            fin: whether the message ends with it.
            compress: whether to compress the message; None leaves it to the extension.

        Raises:
            ProtocolError: the frame may not follow the one before.
        """
        # 5.4: "The fragments of one message MUST NOT be interleaved between the fragments of
        # another message".
        if opcode is CONT:
            if self.opcode is None:
                raise ProtocolError("unexpected continuation frame")
        elif self.opcode is not None:
            raise ProtocolError("expected a continuation frame")
        elif fin and not self.extensions and not self._journal.debug:
            kind: int = opcode
            return encode_frame(0x80 | kind, data, self._mask)
        self.opcode = None if fin else self.opcode or opcode
        return self.encode(Frame(opcode, data, fin), compress)

    def encode_header(self, opcode: Opcode, length: int) -> bytes | None:
        """Return the header of a message that goes over the wire as it is.

        A large message need not be copied behind it.

        Args:
            opcode: `Opcode.TEXT` or `Opcode.BINARY`.
            length: how many bytes the message has.

        Returns:
            The header, or None: the message is changed on its way, or noted in the journal.
        """
        if self._mask or self.extensions or self._journal.debug or self.opcode is not None:
            return None
        return encode_header(FIN | opcode, length, False)

    def begin_shared(self) -> Hashable | None:
        """Prepare for a message that is encoded once for several connections.

        Returns:
            What its encoding depends on; None if this connection needs one of its own: a
            client masks each frame with another key, and the journal wants to see it.
        """
        if self._mask or self._journal.debug:
            return None
        keys = tuple(extension.begin_shared() for extension in self.extensions)
        return None if None in keys else keys

    def encode_control(self, opcode: Opcode, data: bytes) -> bytes:
        """Return a control frame as it goes over the wire.

        Raises:
            ProtocolError: the payload is over 125 bytes (RFC 6455, section 5.5).
        """
        if len(data) > MAX_CONTROL_PAYLOAD:
            raise ProtocolError("control frame too long")
        return self.encode(Frame(opcode, data))

    def encode(self, frame: Frame, compress: bool | None = None) -> bytes:
        """Return any frame as it goes over the wire."""
        if self._journal.debug:
            self._journal.debug_line("> %s", frame)
        for extension in self.extensions:
            frame = extension.encode(frame, compress=compress)
        return encode_frame(frame.head, frame.data, self._mask)
