"""What one end sends, in order; whole sessions are in test_protocol."""

from __future__ import annotations

from typing import Any

import pytest

from geventws.core.exceptions import InvalidState, ProtocolError
from geventws.core.frames import Close, Frame, Opcode
from geventws.core.output import SEND_EOF, Output
from geventws.core.states import Side, State


def opened(side: Side = Side.SERVER) -> Output:
    output = Output(side, debug=False)
    output.state = State.OPEN
    return output


def test_nothing_is_there_before_it_is_needed() -> None:
    output = opened()
    assert output.output is None and output.pongs is None
    assert output.data_to_send() == []


def test_everything_leaves_in_order_but_pongs_first() -> None:
    output = opened()
    output.send_data(Opcode.TEXT, b"one")
    output._answer_ping(Frame(Opcode.PING, b"?"))
    output.send_ping(b"two")
    output._answer_ping(Frame(Opcode.PING, b"!"))
    output.send_pong(b"three")
    output.send_close(1000, "bye")
    output.send_eof()
    output.send_eof()
    assert output.data_to_send() == [
        b"\x8a\x01?",
        b"\x8a\x01!",
        b"\x81\x03one",
        b"\x89\x03two",
        b"\x8a\x05three",
        b"\x88\x05\x03\xe8bye",
        SEND_EOF,
    ]
    assert output.data_to_send() == []


@pytest.mark.parametrize("state", [State.CONNECTING, State.CLOSING, State.CLOSED])
def test_frames_are_for_open_connections(state: State) -> None:
    output = opened()
    output.state = state
    for send in (output.send_ping, output.send_pong):
        with pytest.raises(InvalidState, match=f"connection is {state.name.lower()}"):
            send(b"")
    with pytest.raises(InvalidState):
        output.send_data(Opcode.TEXT, b"")
    with pytest.raises(InvalidState):
        output.send_close()
    assert output.data_to_send() == []


def test_a_reason_needs_a_code() -> None:
    output = opened()
    with pytest.raises(ProtocolError, match="without a code"):
        output.send_close(None, "bye")
    assert output.state is State.OPEN


@pytest.mark.parametrize(
    ("args", "frame", "sent"),
    [
        ((), b"\x88\x02\x03\xe8", Close(1000, "")),
        ((4000, "café"), b"\x88\x07\x0f\xa0caf\xc3\xa9", Close(4000, "café")),
        # 7.1.5: no code stands for 1005, which is never on the wire.
        ((None,), b"\x88\x00", Close(1005, "")),
    ],
)
def test_a_close_frame_is_sent_and_noted(args: tuple[Any, ...], frame: bytes, sent: Close) -> None:
    output = opened()
    output.send_close(*args)
    assert output.data_to_send() == [frame]
    assert (output.closing.sent, output.closing.rcvd) == (sent, None)
    assert output.state is State.CLOSING
    # One goes each way.
    with pytest.raises(InvalidState, match="^connection is closing$"):
        output.send_close()


@pytest.mark.parametrize(
    ("code", "reason", "message"),
    [(1005, "", "invalid status code"), (1000, "é" * 62, "control frame too long")],
)
def test_a_refused_close_changes_nothing(code: int, reason: str, message: str) -> None:
    output = opened()
    with pytest.raises(ProtocolError, match=f"^{message}$"):
        output.send_close(code, reason)
    assert output.state is State.OPEN and output.closing.sent is None
    assert output.data_to_send() == []


def test_a_client_masks_what_it_sends() -> None:
    output = opened(Side.CLIENT)
    output.send_ping(b"?")
    [data] = output.data_to_send()
    assert data[:2] == b"\x89\x81" and len(data) == 7


def test_the_journal_tells_what_was_sent() -> None:
    output = Output(Side.SERVER, debug=True)
    output.state = State.OPEN
    output.send_ping(b"two")
    output.send_close(None)
    output.send_eof()
    output.send_eof()
    assert [line.message % line.args for line in output.journal.lines] == [
        "= connection is CONNECTING",
        "> PING 'two' [text, 3 bytes]",
        "> CLOSE '' [0 bytes]",
        "= connection is CLOSING",
        "> EOF",
    ]
