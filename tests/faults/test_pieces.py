"""A session whose bytes arrive one by one, or late: nothing may be different."""

from __future__ import annotations

import random

import pytest

from tests.faults.relay import Relay
from tests.faults.session import House, Session


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_single_bytes(tls: bool) -> None:
    with House(tls) as house:
        house.play(Session(Relay(house.server.address, piece=1))).check_undisturbed()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_late_pieces(tls: bool) -> None:
    generator = random.Random(6)
    with House(tls) as house:
        for piece in (7, 50, 300):
            delays = iter(lambda: generator.uniform(0, 0.002), None)
            relay = Relay(house.server.address, piece=piece, delays=delays)
            house.play(Session(relay)).check_undisturbed()
