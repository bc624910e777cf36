"""After connections of all fates, nothing is left of them."""

from __future__ import annotations

import gc
import itertools

import pytest
from gevent.pool import Pool

from geventws.net.connection import Connection
from tests.faults.census import leaves_nothing, resident_size
from tests.faults.fates import (
    ANYWHERE,
    TLS,
    WHERE_NOBODY_WAITS,
    Fate,
    House,
    impatient,
    mounted,
    own,
)
from tests.modes import LONG
from tests.net.support import until

# How many connections have to end, in how many rounds, and how many at a time.
COUNT, ROUNDS = (20_000, 10) if LONG else (200, 1)
AT_ONCE = 50

# By how many bytes the process may be larger after the last rounds than it was before them: the
# allocator, OpenSSL's above all, takes and gives back as much.
ROOM = 3 * 1024 * 1024

HOUSES = {
    "own": (own, False, ANYWHERE),
    "own-tls": (own, True, ANYWHERE + TLS),
    "impatient": (impatient, False, WHERE_NOBODY_WAITS),
    "mounted": (mounted, False, ANYWHERE),
    "mounted-tls": (mounted, True, ANYWHERE + TLS),
}


def connections() -> int:
    """How many connections there are, of whatever state."""
    return sum(issubclass(type(thing), Connection) for thing in gc.get_objects())


@pytest.mark.parametrize("name", HOUSES)
# pytest would keep each of them.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.deadline(1200 if LONG else 30)
@leaves_nothing
def test_mixed_fates(name: str) -> None:
    make, tls, fates = HOUSES[name]
    before, sizes = connections(), []
    gc.collect()
    gc.disable()
    try:
        with make(tls) as house:
            for _ in range(ROUNDS):
                meet(house, fates, COUNT // len(HOUSES) // ROUNDS)
                sizes.append(resident_size())
            # Without the garbage collector: there are no reference cycles.
            until(lambda: connections() == before)
    finally:
        gc.enable()
    if LONG:
        # 2,800 connections lie between them: 1 KiB of each would be seen.
        assert min(sizes[-2:]) < max(sizes[:3]) + ROOM, sizes


def meet(house: House, fates: list[Fate], count: int) -> None:
    """Let so many connections meet their fates."""
    turn = itertools.islice(itertools.cycle(fates), count)
    # Not a list of greenlets: they would be what the process grows by.
    for _ in Pool(AT_ONCE).imap_unordered(lambda fate: fate(house), turn):
        pass
