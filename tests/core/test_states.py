"""Sides and states: the numbers and names that logs and users see."""

from __future__ import annotations

import websockets.protocol

from geventws.core.states import Side, State


def test_sides_and_states_are_those_of_websockets() -> None:
    assert {side.name: int(side) for side in Side} == {
        side.name: int(side) for side in websockets.protocol.Side
    }
    assert {state.name: int(state) for state in State} == {
        state.name: int(state) for state in websockets.protocol.State
    }


def test_states_are_ordered_as_they_follow_each_other() -> None:
    assert State.CONNECTING < State.OPEN < State.CLOSING < State.CLOSED
