"""Frames and close codes: their values, their texts in logs, their bytes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import websockets.frames

from geventws.core import frames
from geventws.core.exceptions import ProtocolError
from geventws.core.frames import Close, CloseCode, Frame, Opcode

CONT, TEXT, BINARY = Opcode.CONT, Opcode.TEXT, Opcode.BINARY
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG


def test_opcodes_and_close_codes_are_those_of_websockets() -> None:
    for ours, theirs in [
        (Opcode, websockets.frames.Opcode),
        (CloseCode, websockets.frames.CloseCode),
    ]:
        assert {item.name: int(item) for item in ours} == {item.name: int(item) for item in theirs}


def test_a_frame_is_final_and_uses_no_reserved_bits_unless_it_says_so() -> None:
    assert Frame(TEXT, b"") == (TEXT, b"", True, False, False, False)


@pytest.mark.parametrize(
    "head", [flags | opcode for flags in range(0, 256, 16) for opcode in Opcode]
)
def test_first_byte_both_ways(head: int) -> None:
    frame = Frame.from_head(head, b"data")
    assert frame.head == head
    assert frame.data == b"data"
    assert (frame.opcode, frame.fin) == (head & 15, head >= 128)
    assert [frame.rsv1, frame.rsv2, frame.rsv3] == [bool(head & bit) for bit in (64, 32, 16)]


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_first_byte_with_a_reserved_opcode(opcode: int) -> None:
    with pytest.raises(ValueError):
        Frame.from_head(0x80 | opcode, b"")


# Texts in logs.

SHOWN: list[tuple[Frame, str]] = [
    (Frame(TEXT, b""), "TEXT '' [0 bytes]"),
    (Frame(TEXT, b"a"), "TEXT 'a' [1 byte]"),
    (Frame(TEXT, b"hello"), "TEXT 'hello' [5 bytes]"),
    (Frame(TEXT, b"frag", False), "TEXT 'frag' [4 bytes, continued]"),
    (Frame(TEXT, "café €".encode()), "TEXT 'café €' [9 bytes]"),
    (Frame(TEXT, b"it's\t\"\n"), "TEXT 'it\\'s\\t\"\\n' [7 bytes]"),
    (Frame(TEXT, b"\xff\xfe"), "TEXT ff fe [binary, 2 bytes]"),
    (Frame(TEXT, b"a\x00"), "TEXT 61 00 [binary, 2 bytes]"),
    (Frame(CONT, b""), "CONT '' [0 bytes]"),
    (Frame(CONT, b"ment", False), "CONT 'ment' [text, 4 bytes, continued]"),
    (Frame(CONT, b"ment"), "CONT 'ment' [text, 4 bytes]"),
    (Frame(CONT, b"\x00\xff"), "CONT 00 ff [binary, 2 bytes]"),
    (Frame(BINARY, b""), "BINARY '' [0 bytes]"),
    (Frame(BINARY, b"text"), "BINARY 'text' [text, 4 bytes]"),
    (Frame(BINARY, b"\x00\xff\xfe"), "BINARY 00 ff fe [3 bytes]"),
    (Frame(BINARY, b"\x00", False), "BINARY 00 [1 byte, continued]"),
    (Frame(CLOSE, b""), "CLOSE '' [0 bytes]"),
    (Frame(CLOSE, b"\x03\xe8"), "CLOSE 1000 (OK) [2 bytes]"),
    (
        Frame(CLOSE, b"\x0f\xa0done with it"),
        "CLOSE 4000 (private use) done with it [14 bytes]",
    ),
    (
        Frame(CLOSE, b"\x03\xf3keepalive ping timeout"),
        "CLOSE 1011 (internal error) keepalive ping timeout [24 bytes]",
    ),
    (Frame(CLOSE, b"\x03"), "CLOSE 03 [binary, 1 byte]"),
    (Frame(CLOSE, b"\x03\xe7no"), "CLOSE 03 e7 6e 6f [binary, 4 bytes]"),
    (Frame(CLOSE, b"\x03\xe8\xff"), "CLOSE 03 e8 ff [binary, 3 bytes]"),
    (Frame(PING, b""), "PING '' [0 bytes]"),
    (Frame(PING, b"beat"), "PING 'beat' [text, 4 bytes]"),
    (Frame(PING, b"\xb3\xd2\xfd\x29"), "PING b3 d2 fd 29 [binary, 4 bytes]"),
    (Frame(PONG, b"beat"), "PONG 'beat' [text, 4 bytes]"),
    # Four random bytes that happen to be UTF-8 are no text.
    (Frame(PONG, "éé".encode()), "PONG c3 a9 c3 a9 [binary, 4 bytes]"),
    # A fragment may begin and end inside a character.
    (Frame(TEXT, b"caf\xc3", False), "TEXT 'caf�' [4 bytes, continued]"),
    (Frame(CONT, b"\xa9 \xe2\x82", False), "CONT '� �' [text, 4 bytes, continued]"),
    (Frame(CONT, b"\x98\x80!"), "CONT '��!' [text, 3 bytes]"),
    (Frame(CONT, b"\x9f\x98\x80"), "CONT '���' [text, 3 bytes]"),
    (Frame(CONT, b"\xe2\x82\xac"), "CONT '€' [text, 3 bytes]"),
    (Frame(CONT, b"\x80\x80\x80\x80"), "CONT 80 80 80 80 [binary, 4 bytes]"),
    (Frame(TEXT, b"caf\xc3"), "TEXT 63 61 66 c3 [binary, 4 bytes]"),
    (Frame(CONT, b"caf\xc3"), "CONT 63 61 66 c3 [binary, 4 bytes]"),
    # Up to 75 characters are shown whole, with their quotes.
    (Frame(TEXT, b"a" * 73), f"TEXT '{'a' * 73}' [73 bytes]"),
    (
        Frame(TEXT, b"a" * 50 + b"b" * 50),
        f"TEXT '{'a' * 47}...{'b' * 23}' [100 bytes]",
    ),
    (
        Frame(BINARY, bytes(range(25))),
        f"BINARY {bytes(range(25)).hex(' ')} [25 bytes]",
    ),
    (
        Frame(BINARY, bytes(range(26))),
        f"BINARY {bytes(range(16)).hex(' ')} ... {bytes(range(18, 26)).hex(' ')} [26 bytes]",
    ),
    (
        Frame(PING, b"\x00" * 125),
        f"PING {bytes(16).hex(' ')} ... {bytes(8).hex(' ')} [binary, 125 bytes]",
    ),
    (
        Frame(CLOSE, b"\x03\xe8" + b"x" * 123),
        f"CLOSE 1000 (OK) {'x' * 38}...{'x' * 24} [125 bytes]",
    ),
]


@pytest.mark.parametrize(("frame", "text"), SHOWN, ids=lambda value: str(value)[:40])
def test_texts_of_frames_are_those_of_websockets(frame: Frame, text: str) -> None:
    assert str(frame) == text
    theirs = websockets.frames.Frame(websockets.frames.Opcode(frame.opcode), *frame[1:])
    assert str(theirs) == text


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("two\nlines", "two\\nlines"),
        ("\r\x1b[2Jgone", "\\r\\x1b[2Jgone"),
        ("\x00", "\\x00"),
        ("right\u202eleft", "right\\u202eleft"),
        ("a\u2028b", "a\\u2028b"),
        ('it\'s "quoted"\n', 'it\\\'s "quoted"\\n'),
    ],
)
def test_a_close_reason_cannot_forge_log_lines(reason: str, text: str) -> None:
    shown = str(Frame(CLOSE, Close(4000, f"{reason}.").serialize()))
    assert shown.startswith(f"CLOSE 4000 (private use) {text}. [")
    assert shown.isprintable()


@pytest.mark.parametrize("opcode", [CONT, TEXT, BINARY, PING, PONG])
@pytest.mark.parametrize("data", [b"\x1b[2J", b"\x7f", b"a\x00", "\u202e".encode()])
def test_what_a_human_cannot_read_is_shown_in_hexadecimal(opcode: Opcode, data: bytes) -> None:
    assert f" {data.hex(' ')} [" in str(Frame(opcode, data))


def test_a_payload_may_be_any_buffer() -> None:
    assert str(Frame(TEXT, memoryview(b"hello"))) == "TEXT 'hello' [5 bytes]"
    assert str(Frame(CLOSE, bytearray(b"\x03\xe8bye"))) == "CLOSE 1000 (OK) bye [5 bytes]"


@pytest.mark.parametrize("limit", [*range(30), 75, 150])
def test_logs_never_show_more_than_their_limit(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_LOG_SIZE", limit)
    dots = len(" ... ")
    for frame in [Frame(TEXT, b"x" * 999), Frame(BINARY, b"\xff" * 999)]:
        shown = str(frame).removeprefix(f"{frame.opcode.name} ").rpartition(" [")[0]
        assert len(shown) <= max(limit, dots)
    monkeypatch.setattr(frames, "MAX_LOG_SIZE", 1000)
    assert len(str(Frame(TEXT, b"x" * 998))) == len("TEXT  [998 bytes]") + 1000


def test_the_environment_sets_the_limit_of_logs() -> None:
    program = "from geventws.core import frames; print(frames.MAX_LOG_SIZE)"
    for environment, limit in [({}, 75), ({"GEVENTWS_MAX_LOG_SIZE": "300"}, 300)]:
        inherited = {key: value for key, value in os.environ.items() if "LOG_SIZE" not in key}
        inherited["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        output = subprocess.check_output(
            [sys.executable, "-c", program], env=inherited | environment, timeout=25
        )
        assert int(output) == limit


# Close codes and reasons.


@pytest.mark.parametrize(
    "code",
    [0, 999, *range(1000, 1017), 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65535],
)
@pytest.mark.parametrize("reason", ["", "why not"])
def test_texts_of_close_codes_are_those_of_websockets(code: int, reason: str) -> None:
    assert str(Close(code, reason)) == str(websockets.frames.Close(code, reason))


def test_texts_of_close_codes() -> None:
    assert str(Close(1000, "")) == "1000 (OK)"
    assert str(Close(1011, "oops")) == "1011 (internal error) oops"
    assert str(Close(1015, "")) == "1015 (TLS handshake failure [internal])"
    assert str(Close(1004, "")) == "1004 (unknown)"
    assert str(Close(3000, "")) == "3000 (registered)"
    assert str(Close(4999, "")) == "4999 (private use)"


VALID = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
INVALID = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", VALID)
def test_valid_codes_both_ways(code: int) -> None:
    data = code.to_bytes(2, "big") + "why nót".encode()
    assert Close.parse(data) == Close(code, "why nót")
    assert Close(code, "why nót").serialize() == data


@pytest.mark.parametrize("code", INVALID)
def test_invalid_codes_both_ways(code: int) -> None:
    with pytest.raises(ProtocolError, match="^invalid status code$"):
        Close.parse(code.to_bytes(2, "big"))
    with pytest.raises(ProtocolError, match="^invalid status code$"):
        Close(code, "").serialize()


def test_an_empty_close_frame_stands_for_1005() -> None:
    assert Close.parse(b"") == (1005, "")


def test_a_close_frame_of_one_byte() -> None:
    with pytest.raises(ProtocolError, match="^close frame too short$"):
        Close.parse(b"\x03")


def test_positions_in_a_reason_count_from_its_beginning() -> None:
    with pytest.raises(UnicodeDecodeError) as info:
        Close.parse(b"\x03\xe8abc\xff")
    assert info.value.start == 3


def test_a_reason_has_at_most_123_bytes() -> None:
    assert len(Close(1000, "é" * 61 + "e").serialize()) == 125
    with pytest.raises(ProtocolError, match="^control frame too long$"):
        Close(1000, "é" * 62).serialize()


def test_codes_that_may_not_be_on_the_wire_are_not_among_the_external_ones() -> None:
    assert set(CloseCode) - frames.EXTERNAL_CLOSE_CODES == {1005, 1006, 1015}
