"""What one end sends, in order; whole sessions are in test_protocol."""

from __future__ import annotations

import pytest

from geventws.core.exceptions import InvalidState, ProtocolError
from geventws.core.frames import Frame, Opcode
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
    output.send_close(1000, "bye")
    output.send_eof()
    output.send_eof()
    assert output.data_to_send() == [
        b"\x8a\x01?",
        b"\x81\x03one",
        b"\x89\x03two",
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
