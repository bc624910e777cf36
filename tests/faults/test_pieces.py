"""A session whose bytes arrive one by one, or late: nothing may be different."""

from __future__ import annotations

import random

import pytest

from geventws import ConnectionClosedOK
from tests.faults.relay import Relay
from tests.faults.session import ANSWERS, CLOSED, OPEN, SENT, House, Session


def check_undisturbed(session: Session) -> None:
    assert session.client.received == ANSWERS
    assert session.server.received == SENT
    assert session.ponged
    for end in (session.client, session.server):
        assert isinstance(end.exc, ConnectionClosedOK)
        assert end.ws.close_code == 1000
    assert session.server.lines(0) == [OPEN, CLOSED]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_single_bytes(tls: bool) -> None:
    with House(tls) as house:
        check_undisturbed(house.play(Session(Relay(house.server.address, piece=1))))


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_late_pieces(tls: bool) -> None:
    generator = random.Random(6)
    with House(tls) as house:
        for piece in (7, 50, 300):
            delays = iter(lambda: generator.uniform(0, 0.002), None)
            relay = Relay(house.server.address, piece=piece, delays=delays)
            check_undisturbed(house.play(Session(relay)))
