"""After connections of all fates, nothing is left of them."""

from __future__ import annotations

import collections
import contextlib
import gc
import itertools
from collections.abc import Iterator

import gevent
import pytest
from gevent.pool import Pool

from geventws.net.keepalive import Deadline
from tests.faults.census import nothing_left, resident_size, return_memory
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
COUNT, ROUNDS = (20_000, 10) if LONG else (150, 1)
AT_ONCE = 50

# By how much the process may grow for each connection in the second half of the rounds, in bytes.
# In the first half caches fill, and the allocator gets what it needs; then sizes vary by half of
# this.
EACH = 100

# Whose objects connections are made of: what gevent waits with, and TLS, too.
OURS = ("geventws.", "gevent._", "gevent.ssl", "ssl", "_ssl")

HOUSES = {
    "own": (own, False, ANYWHERE),
    "own-tls": (own, True, ANYWHERE + TLS),
    "impatient": (impatient, False, WHERE_NOBODY_WAITS),
    "mounted": (mounted, False, ANYWHERE),
    "mounted-tls": (mounted, True, ANYWHERE + TLS),
}


def objects() -> collections.Counter[str]:
    """How many objects of ours there are, of each type."""
    # Whatever woke us is in use until its callback, in which we are, is over.
    gevent.sleep(0)
    types = map(type, gc.get_objects())
    # Deadlines that are cancelled wait for their time; the census counts the others.
    return collections.Counter(
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in types
        if str(kind.__module__).startswith(OURS) and kind is not Deadline
    )


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Disable the garbage collector, which would hide reference cycles."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize("name", HOUSES)
# pytest would keep each of them.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.deadline(1200 if LONG else 30)
def test_mixed_fates(name: str) -> None:
    make, tls, fates = HOUSES[name]
    with nothing_left(), make(tls) as house:
        # What is made once, and stays.
        meet(house, fates, len(fates))
    with nothing_left(), without_collector():
        before, sizes = objects(), []
        with make(tls) as house:
            for _ in range(ROUNDS):
                meet(house, fates, COUNT // len(HOUSES) // ROUNDS)
                return_memory()
                sizes.append(resident_size())
        until(lambda: not objects() - before)
    if LONG:
        half = ROUNDS // 2
        each = (sizes[-1] - sizes[-1 - half]) / (half * COUNT // len(HOUSES) // ROUNDS)
        print(f"\n{name}: {each:.0f} bytes each; KiB, in time: {[size // 1024 for size in sizes]}")
        assert each < EACH


def meet(house: House, fates: list[Fate], count: int) -> None:
    """Let so many connections meet their fates."""
    turn = itertools.islice(itertools.cycle(fates), count)
    # Not a list of greenlets: they would be what the process grows by.
    for _ in Pool(AT_ONCE).imap_unordered(lambda fate: fate(house), turn):
        pass
