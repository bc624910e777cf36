"""Messages: fragments in their order, UTF-8 at its first wrong byte, and limits."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from geventws.core.codec import FrameDecoder
from geventws.core.deflate import PerMessageDeflate
from geventws.core.exceptions import PayloadTooBig, ProtocolError, TooManyFragments
from geventws.core.extensions import Extension
from geventws.core.frames import Frame, Opcode
from geventws.core.journal import Journal
from geventws.core.messages import Fragment, MessageAssembler, MessageEncoder

CONT, TEXT, BINARY = Opcode.CONT, Opcode.TEXT, Opcode.BINARY

# First bytes of unfinished frames.
TEXT_HEAD, TEXT_FIN_HEAD, CONT_HEAD, BINARY_HEAD = 0x01, 0x81, 0x00, 0x02


def make_assembler(max_fragments: int | None = None) -> tuple[MessageAssembler, FrameDecoder]:
    decoder = FrameDecoder(masked=False)
    return MessageAssembler(decoder, max_fragments), decoder


# Receiving: the order of frames.


def test_a_frame_that_is_a_message() -> None:
    assembler, _ = make_assembler()
    assert assembler.receive(TEXT, "café".encode(), True) == "café"
    assert assembler.receive(BINARY, b"\x00\xff", True) == b"\x00\xff"
    assert assembler.receive(TEXT, b"", True) == ""
    assert assembler.receive(BINARY, b"", True) == b""
    assert not assembler.busy


@pytest.mark.parametrize(("opcode", "text"), [(TEXT, True), (BINARY, False)])
def test_a_message_in_fragments(opcode: Opcode, text: bool) -> None:
    assembler, decoder = make_assembler()
    for _ in range(2):
        assert assembler.receive(opcode, b"ab", False) == Fragment(b"ab", text, False)
        assert assembler.busy and decoder.message_size == 2
        assert assembler.receive(CONT, b"", False) == Fragment(b"", text, False)
        assert assembler.receive(CONT, b"cd", False) == Fragment(b"cd", text, False)
        assert decoder.message_size == 4
        assert assembler.receive(CONT, b"ef", True) == Fragment(b"ef", text, True)
        # The next message begins from nothing.
        assert not assembler.busy and decoder.message_size == 0
        assert assembler.opcode is None


@pytest.mark.parametrize("fin", [False, True])
def test_a_continuation_of_nothing(fin: bool) -> None:
    assembler, _ = make_assembler()
    with pytest.raises(ProtocolError, match="^unexpected continuation frame$"):
        assembler.receive(CONT, b"", fin)
    assembler, _ = make_assembler()
    with pytest.raises(ProtocolError, match="^unexpected continuation frame$"):
        assembler.receive_partial(fin << 7, b"a")


@pytest.mark.parametrize("begun", [TEXT, BINARY])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("fin", [False, True])
def test_a_message_inside_a_message(begun: Opcode, opcode: Opcode, fin: bool) -> None:
    for partial in (False, True):
        assembler, _ = make_assembler()
        assembler.receive(begun, b"", False)
        with pytest.raises(ProtocolError, match="^expected a continuation frame$"):
            if partial:
                # Its bytes are not looked at: they might belong to text, or not.
                assembler.receive_partial(fin << 7 | opcode, b"\xff")
            else:
                assembler.receive(opcode, b"\xff", fin)


# Receiving: limits.


@pytest.mark.parametrize("data", [b"", b"a"])
def test_fragments_are_counted_empty_or_not(data: bytes) -> None:
    assembler, _ = make_assembler(max_fragments=3)
    for _ in range(2):
        assembler.receive(TEXT, data, False)
        assembler.receive(CONT, data, False)
        assembler.receive(CONT, data, True)
    # Messages of one frame are not fragmented.
    for _ in range(4):
        assembler.receive(TEXT, data, True)
    assembler.receive(TEXT, data, False)
    assembler.receive(CONT, data, False)
    assembler.receive(CONT, data, False)
    with pytest.raises(TooManyFragments) as info:
        assembler.receive(CONT, data, True)
    assert info.value.max_fragments == 3


def test_a_fragment_too_many_is_refused_before_it_is_whole() -> None:
    assembler, _ = make_assembler(max_fragments=1)
    assembler.receive(TEXT, b"a", False)
    with pytest.raises(TooManyFragments):
        assembler.receive_partial(CONT_HEAD, b"\xff")


def test_no_limit_on_fragments() -> None:
    assembler, _ = make_assembler(max_fragments=None)
    assembler.receive(BINARY, b"", False)
    for _ in range(10000):
        assembler.receive(CONT, b"", False)
    assert assembler.receive(CONT, b"", True) == Fragment(b"", False, True)


def test_no_fragment_is_allowed() -> None:
    assembler, _ = make_assembler(max_fragments=0)
    assert assembler.receive(TEXT, b"whole", True) == "whole"
    with pytest.raises(TooManyFragments):
        assembler.receive(TEXT, b"", False)


# Receiving: UTF-8.

# Not UTF-8 (Autobahn's cases 6.3 to 6.21 among them), Python's word for it, and where.
WRONG: list[tuple[bytes, str]] = [
    (b"\xff", "invalid start byte at 0"),
    (b"abc\x80", "invalid start byte at 3"),
    (b"a\xc0\x80", "invalid start byte at 1"),
    (b"\xc1\xbf", "invalid start byte at 0"),
    (b"ab\xc3(", "invalid continuation byte at 2"),
    (b"\xe0\x80\x80", "invalid continuation byte at 0"),
    (b"\xe2\x82a", "invalid continuation byte at 0"),
    (b"\xf0\x80\x80\x80", "invalid continuation byte at 0"),
    (b"\xf0\x9f\x98\xff", "invalid continuation byte at 0"),
    (b"\xf5\x80\x80\x80", "invalid start byte at 0"),
    # Surrogates, and what is beyond U+10FFFF.
    (b"ok\xed\xa0\x80", "invalid continuation byte at 2"),
    (b"\xed\xbf\xbf", "invalid continuation byte at 0"),
    ("κόσμε".encode() + b"\xf4\x90\x80\x80", "invalid continuation byte at 10"),
]

# Texts that break off.
UNFINISHED: list[tuple[bytes, str]] = [
    (b"\xc3", "unexpected end of data at 0"),
    (b"abc\xe2\x82", "unexpected end of data at 3"),
    (b"\xf0\x9f\x98", "unexpected end of data at 0"),
    ("€".encode() + b"\xf4\x8f", "unexpected end of data at 3"),
]


def first_wrong_byte(data: bytes) -> int:
    """How many bytes it takes to see that data does not begin UTF-8."""
    for size in range(1, len(data) + 1):
        try:
            data[:size].decode()
        except UnicodeDecodeError as exc:
            if exc.reason != "unexpected end of data":
                return size
    raise AssertionError("UTF-8, or its beginning")


def where(info: pytest.ExceptionInfo[UnicodeDecodeError]) -> str:
    return f"{info.value.reason} at {info.value.start}"


@pytest.mark.parametrize(("data", "error"), WRONG + UNFINISHED)
def test_not_utf8_in_one_frame(data: bytes, error: str) -> None:
    assembler, _ = make_assembler()
    with pytest.raises(UnicodeDecodeError) as info:
        assembler.receive(TEXT, data, True)
    assert where(info) == error


@pytest.mark.parametrize(("data", "error"), WRONG)
def test_not_utf8_in_pieces_of_a_frame(data: bytes, error: str) -> None:
    """6.4.x of Autobahn: the wrong byte is refused as soon as it is there, not at the end."""
    for cut in range(first_wrong_byte(data)):
        assembler, _ = make_assembler()
        assembler.receive_partial(TEXT_FIN_HEAD, data[:cut])
        assert assembler.busy
        with pytest.raises(UnicodeDecodeError) as info:
            assembler.receive_partial(TEXT_FIN_HEAD, data[cut : first_wrong_byte(data)])
        assert where(info) == error


@pytest.mark.parametrize(("data", "error"), WRONG)
@pytest.mark.parametrize("before", [b"", b"hello ", "é€😀".encode()])
def test_not_utf8_across_fragments_and_pieces(data: bytes, error: str, before: bytes) -> None:
    """The position counts from the beginning of the message, wherever frames begin."""
    reason, _, position = error.rpartition(" ")
    error = f"{reason} {int(position) + len(before)}"
    data = (before + data)[: len(before) + first_wrong_byte(data)]
    for first, second in itertools.combinations_with_replacement(range(len(data)), 2):
        assembler, _ = make_assembler()
        assembler.receive(TEXT, data[:first], False)
        # A whole fragment or the piece of one.
        with pytest.raises(UnicodeDecodeError) as info:
            assembler.receive(CONT, data[first:second], False)
            assembler.receive(CONT, data[second:], False)
        assert where(info) == error
        assembler, _ = make_assembler()
        assembler.receive(TEXT, data[:first], False)
        with pytest.raises(UnicodeDecodeError) as info:
            assembler.receive_partial(CONT_HEAD, data[first:second])
            assembler.receive_partial(CONT_HEAD, data[second:])
        assert where(info) == error


@pytest.mark.parametrize(("data", "error"), UNFINISHED)
def test_a_text_that_breaks_off(data: bytes, error: str) -> None:
    for cut in range(len(data) + 1):
        assembler, _ = make_assembler()
        assembler.receive(TEXT, data[:cut], False)
        assembler.receive(CONT, data[cut:], False)
        with pytest.raises(UnicodeDecodeError) as info:
            assembler.receive(CONT, b"", True)
        assert where(info) == error


def test_a_text_may_be_cut_anywhere() -> None:
    data = "aé€😀\U0010ffff".encode()
    for cut in range(len(data) + 1):
        assembler, _ = make_assembler()
        for piece in range(cut):
            assembler.receive_partial(TEXT_HEAD, data[piece : piece + 1])
        assert assembler.receive(TEXT, data[:cut], False) == Fragment(data[:cut], True, False)
        for piece in range(cut, len(data)):
            assembler.receive_partial(0x80, data[piece : piece + 1])
        assert assembler.receive(CONT, data[cut:], True) == Fragment(data[cut:], True, True)
        assert not assembler.busy
        # Nor is anything kept between messages of one frame.
        assembler.receive_partial(TEXT_FIN_HEAD, data[:-1])
        assert assembler.receive(TEXT, data, True) == data.decode()
        assert not assembler.busy


def test_the_error_never_shows_a_byte_that_is_not_the_wrong_one() -> None:
    assembler, _ = make_assembler()
    assembler.receive(TEXT, b"abc", False)
    with pytest.raises(UnicodeDecodeError) as info:
        assembler.receive(CONT, b"de\xffghi", False)
    assert str(info.value) == (
        "'utf-8' codec can't decode bytes in position 5-5: invalid start byte"
    )
    assembler, _ = make_assembler()
    with pytest.raises(UnicodeDecodeError) as info:
        assembler.receive_partial(TEXT_HEAD, b"de\xffghi")
    assert str(info.value) == (
        "'utf-8' codec can't decode byte 0xff in position 2: invalid start byte"
    )


def test_binary_messages_are_any_bytes() -> None:
    assembler, _ = make_assembler()
    assembler.receive_partial(BINARY_HEAD, b"\xff")
    assert not assembler.busy
    assert assembler.receive(BINARY, b"\xff\xfe", False) == Fragment(b"\xff\xfe", False, False)
    assembler.receive_partial(CONT_HEAD, b"\xff")
    assert assembler.receive(CONT, b"\xff", True) == Fragment(b"\xff", False, True)


# Receiving: extensions.


def compressed(data: bytes) -> Frame:
    return PerMessageDeflate(False, False, 12, 12).encode(Frame(BINARY, data))


@pytest.mark.parametrize(
    ("max_size", "max_fragment_size", "message_size", "error"),
    [
        (None, None, 0, None),
        (1000, None, 0, None),
        (1000, 1000, 0, None),
        (2000, 1000, 1000, None),
        (999, None, 0, "frame exceeds limit of 999 bytes"),
        (1999, None, 1000, "frame after reading 1000 bytes exceeds limit of 1999 bytes"),
        (None, 999, 1000, "frame exceeds limit of 999 bytes"),
        (5000, 999, 1000, "frame exceeds limit of 999 bytes"),
        (1500, 999, 1000, "frame after reading 1000 bytes exceeds limit of 1500 bytes"),
    ],
)
def test_limits_hold_for_what_comes_out_of_an_extension(
    max_size: int | None, max_fragment_size: int | None, message_size: int, error: str | None
) -> None:
    decoder = FrameDecoder(False, max_size, max_fragment_size)
    decoder.message_size = message_size
    assembler = MessageAssembler(decoder)
    frame = compressed(bytes(1000))
    assert assembler.decode(frame) is frame
    assembler.extensions = (PerMessageDeflate(False, False, 12, 12),)
    if error is None:
        assert assembler.decode(frame) == Frame(BINARY, bytes(1000))
    else:
        with pytest.raises(PayloadTooBig) as info:
            assembler.decode(frame)
        assert str(info.value) == error


def test_a_frame_for_an_extension_is_not_looked_at_before_it_is_whole() -> None:
    assembler, _ = make_assembler()
    assembler.extensions = (PerMessageDeflate(False, False, 12, 12),)
    frame = compressed("café".encode() * 100)._replace(opcode=TEXT)
    # Compressed, it is no UTF-8.
    with pytest.raises(UnicodeDecodeError):
        frame.data.decode()
    assembler.receive_partial(TEXT_FIN_HEAD, frame.data[:-1])
    assert not assembler.busy
    text = assembler.receive(TEXT, assembler.decode(frame).data, True)
    assert text == "café" * 100
    # Nor is its place.
    assembler.receive_partial(CONT_HEAD, b"a")
    with pytest.raises(ProtocolError, match="^unexpected continuation frame$"):
        assembler.receive(CONT, b"a", False)


# Sending.


class Recording(Extension):
    """Writes down what it is given to encode; adds its name."""

    rsv2 = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.encoded: list[tuple[Frame, bool | None]] = []

    def encode(self, frame: Frame, *, compress: bool | None = None) -> Frame:
        self.encoded.append((frame, compress))
        return frame._replace(data=frame.data + self.name.encode(), rsv2=True)


def make_encoder(mask: bool = False, debug: bool = False) -> MessageEncoder:
    return MessageEncoder(mask, Journal(debug))


@pytest.mark.parametrize("debug", [False, True])
def test_encodes_messages_and_fragments(debug: bool) -> None:
    encoder = make_encoder(debug=debug)
    assert encoder.encode_data(TEXT, b"Hello") == b"\x81\x05Hello"
    assert encoder.encode_data(BINARY, b"") == b"\x82\x00"
    assert encoder.encode_data(TEXT, b"Hel", False) == b"\x01\x03Hel"
    assert encoder.opcode is TEXT
    assert encoder.encode_data(CONT, b"", False) == b"\x00\x00"
    assert encoder.opcode is TEXT
    # Control frames may come between fragments.
    assert encoder.encode(Frame(Opcode.PING, b"")) == b"\x89\x00"
    assert encoder.encode_data(CONT, b"lo", True) == b"\x80\x02lo"
    assert encoder.opcode is None
    assert encoder.encode_data(TEXT, b"Hello") == b"\x81\x05Hello"


def test_a_client_masks() -> None:
    data = make_encoder(mask=True).encode_data(TEXT, b"Hello")
    assert data[:2] == b"\x81\x85" and len(data) == 11
    decoder = FrameDecoder(masked=True)
    decoder.feed(data)
    assert (decoder.decode(), decoder.head) == (b"Hello", 0x81)


@pytest.mark.parametrize("fin", [False, True])
def test_frames_are_sent_in_their_order(fin: bool) -> None:
    encoder = make_encoder()
    with pytest.raises(ProtocolError, match="^unexpected continuation frame$"):
        encoder.encode_data(CONT, b"", fin)
    encoder.encode_data(BINARY, b"", False)
    for opcode in (TEXT, BINARY):
        with pytest.raises(ProtocolError, match="^expected a continuation frame$"):
            encoder.encode_data(opcode, b"", fin)
    # What was refused changed nothing.
    assert encoder.encode_data(CONT, b"", True) == b"\x80\x00"


@pytest.mark.parametrize("opcode", [Opcode.CLOSE, Opcode.PING, Opcode.PONG])
def test_control_frames_have_at_most_125_bytes(opcode: Opcode) -> None:
    encoder = make_encoder()
    assert encoder.encode_control(opcode, b"a" * 125) == bytes([0x80 | opcode, 125]) + b"a" * 125
    with pytest.raises(ProtocolError, match="^control frame too long$"):
        encoder.encode_control(opcode, b"a" * 126)


@pytest.mark.parametrize("compress", [None, False, True])
def test_extensions_encode_in_their_order_and_learn_what_is_asked(compress: bool | None) -> None:
    encoder = make_encoder()
    encoder.extensions = first, second = Recording("1"), Recording("2")
    assert encoder.encode_data(TEXT, b"a", False, compress) == b"\x21\x03a12"
    assert encoder.encode_data(CONT, b"b", True) == b"\xa0\x03b12"
    assert first.encoded == [
        (Frame(TEXT, b"a", False), compress),
        (Frame(CONT, b"b", True), None),
    ]
    assert [(frame.data, asked) for frame, asked in second.encoded] == [
        (b"a1", compress),
        (b"b1", None),
    ]


def test_frames_are_noted_as_they_were_before_extensions() -> None:
    encoder = make_encoder(debug=True)
    encoder.extensions = (Recording("1"),)
    encoder.encode_data(TEXT, b"a")
    encoder.encode(Frame(Opcode.PONG, b""))
    lines: list[Any] = [line.message % line.args for line in encoder._journal.lines]
    assert lines == ["> TEXT 'a' [1 byte]", "> PONG '' [0 bytes]"]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536])
def test_the_header_of_a_message_alone(opcode: Opcode, length: int) -> None:
    encoder, data = make_encoder(), b"a" * length
    header = encoder.encode_header(opcode, length)
    assert header is not None and header + data == encoder.encode_data(opcode, data)


@pytest.mark.parametrize("why", ["mask", "debug", "extension", "fragments"])
def test_no_header_alone_if_the_message_is_needed(why: str) -> None:
    encoder = make_encoder(mask=why == "mask", debug=why == "debug")
    if why == "extension":
        encoder.extensions = (Recording("1"),)
    elif why == "fragments":
        # Only a fragment may follow: it is for `encode_data` to say so.
        encoder.encode_data(TEXT, b"a", False)
    assert encoder.encode_header(BINARY, 70_000) is None


def test_servers_without_extensions_share_a_message() -> None:
    key = make_encoder().begin_shared()
    assert key is not None and key == make_encoder().begin_shared()


def make_deflating(history: bytes, bits: int = 12) -> MessageEncoder:
    """Make an encoder that has compressed something already."""
    encoder = make_encoder()
    encoder.extensions = (PerMessageDeflate(False, False, 12, bits),)
    encoder.encode_data(TEXT, history)
    return encoder


def test_a_shared_message_depends_on_nothing_that_was_sent_before() -> None:
    message = b"the quick brown fox jumps over the lazy dog"
    one, other = make_deflating(message), make_deflating(b"")
    assert one.encode_data(TEXT, message) != other.encode_data(TEXT, message)
    key = one.begin_shared()
    assert key is not None and key == other.begin_shared()
    assert one.encode_data(TEXT, message) == other.encode_data(TEXT, message)
    # Another window makes other bytes.
    assert key != make_deflating(message, bits=15).begin_shared()


@pytest.mark.parametrize("why", ["mask", "debug", "first", "last"])
def test_messages_that_cannot_be_shared(why: str) -> None:
    encoder = make_encoder(mask=why == "mask", debug=why == "debug")
    # An extension shares nothing unless it says so, and one is enough.
    own, deflate = Recording("1"), PerMessageDeflate(False, False, 12, 12)
    if why in ("first", "last"):
        encoder.extensions = (own, deflate) if why == "first" else (deflate, own)
    assert encoder.begin_shared() is None
