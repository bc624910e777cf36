"""While a client waits, whatever for, other greenlets run."""

from __future__ import annotations

import gevent
import pytest

from tests.net.waits import TICK, WAITS, count_ticks


@pytest.mark.parametrize("name", WAITS)
def test_others_run(name: str) -> None:
    # If the hub were blocked, this would never end: what is waited for never comes.
    with WAITS[name]() as waiting:
        for _ in range(50):
            gevent.sleep(TICK)
        assert not waiting.dead


def test_ticks_are_counted() -> None:
    assert 1 <= count_ticks(0.05) <= 50
