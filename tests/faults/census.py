"""A census: what a process holds that connections hold."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import logging
import operator
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import gevent
import greenlet

from geventws.net.hubs import get_hub_state
from tests.conftest import open_descriptors

# Seconds until what is left must be gone.
PATIENCE = 3


class Census(NamedTuple):
    """How many of what a connection takes there are in this process."""

    greenlets: int
    watchers: int
    descriptors: int
    streams: int
    deadlines: int


def take_census() -> Census:
    """Count the hub's living greenlets, watchers of all kinds, descriptors, and connections."""
    # The watcher that woke us lives until its callback, in which we are, is over.
    gevent.sleep(0)
    gc.collect()
    state, greenlets, watchers = get_hub_state(), 0, 0
    # On either of gevent's loops, all kinds of watchers have one base.
    watcher = type(state.mailbox._bell).__mro__[-2]
    for thing in gc.get_objects():
        # Not `isinstance`, which asks proxies for what they stand for.
        if issubclass(type(thing), greenlet.greenlet):
            # Native threads have a main greenlet, and its parent is none.
            greenlets += thing.parent is state.hub and not thing.dead
        else:
            watchers += issubclass(type(thing), watcher)
    deadlines = sum(deadline.owner is not None for deadline in state.keepalive._heap)
    descriptors = len(open_descriptors())
    return Census(greenlets, watchers, descriptors, len(state.streams), deadlines)


def begin_to_count() -> None:
    """Let the hub have what stays once it is there: for deadlines, turns, and native threads."""
    state = get_hub_state()
    assert state.hub.threadpool is not None
    state.keepalive.cancel(state.keepalive.schedule(state.keepalive, 3600))  # type: ignore[arg-type]
    state.turns.wait()


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """Check that a block leaves nothing behind; what it logs is not kept.

    Enter it inside a test, not in a fixture: pytest keeps records, which refer to connections,
    of loggers that do not propagate when the test begins.
    """
    logger = logging.getLogger("geventws")
    begin_to_count()
    before = take_census()
    logger.propagate = False
    logger.addHandler(silence := logging.NullHandler())
    try:
        yield
        after = take_census()
        # Not a timeout of gevent's, which would be counted.
        end = time.monotonic() + PATIENCE
        while any(map(operator.gt, after, before)) and time.monotonic() < end:
            gevent.sleep(0.02)
            after = take_census()
    finally:
        logger.propagate = True
        logger.removeHandler(silence)
    assert not any(map(operator.gt, after, before)), (before, after)


T = TypeVar("T", bound=Callable[..., None])


def leaves_nothing(test: T) -> T:
    """Check that a test leaves nothing behind."""

    @functools.wraps(test)
    def checked(*args: Any, **kwargs: Any) -> None:
        with nothing_left():
            test(*args, **kwargs)

    return checked  # type: ignore[return-value]


def resident_size(process: int | str = "self") -> int:
    """How many bytes of memory a process has."""
    with open(f"/proc/{process}/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def return_memory() -> None:
    """Let the C library give the system back what is free."""
    ctypes.CDLL(None).malloc_trim(0)
