"""A census: what a process holds that connections hold."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import resource
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import gevent
import greenlet

from geventws.net.hubs import get_hub_state
from tests.conftest import open_sockets

# Seconds until what is left must be gone.
PATIENCE = 3


class Census(NamedTuple):
    """How many of what a connection takes there are in this process."""

    greenlets: int
    watchers: int
    sockets: int
    streams: int
    deadlines: int


def take_census() -> Census:
    """Count the hub's living greenlets, watchers of sockets, sockets, and connections."""
    gc.collect()
    hub, greenlets, watchers = gevent.get_hub(), 0, 0
    for thing in gc.get_objects():
        # Not `isinstance`, which asks proxies for what they stand for.
        if issubclass(type(thing), greenlet.greenlet):
            # Native threads have a main greenlet, and its parent is none.
            greenlets += thing.parent is hub and not thing.dead
        elif type(thing).__name__ == "io" and "gevent.lib" in str(type(thing).__module__):
            watchers += 1
    state = get_hub_state()
    deadlines = sum(deadline.owner is not None for deadline in state.keepalive._heap)
    return Census(greenlets, watchers, len(open_sockets()), len(state.streams), deadlines)


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """Check that a block leaves nothing behind; what it logs is not kept.

    Enter it inside a test, not in a fixture: pytest keeps records, which refer to connections,
    of loggers that do not propagate when the test begins.
    """
    logger = logging.getLogger("geventws")
    keepalive = get_hub_state().keepalive
    # Its greenlet stays, once there is one.
    keepalive.cancel(keepalive.schedule(keepalive, 3600))  # type: ignore[arg-type]
    before = take_census()
    logger.propagate = False
    logger.addHandler(silence := logging.NullHandler())
    try:
        yield
    finally:
        logger.propagate = True
        logger.removeHandler(silence)
    after = take_census()
    with gevent.Timeout(PATIENCE, False):
        while any(now > then for now, then in zip(after, before, strict=True)):
            gevent.sleep(0.02)
            after = take_census()
    assert all(now <= then for now, then in zip(after, before, strict=True)), (before, after)


T = TypeVar("T", bound=Callable[..., None])


def leaves_nothing(test: T) -> T:
    """Check that a test leaves nothing behind."""

    @functools.wraps(test)
    def checked(*args: Any, **kwargs: Any) -> None:
        with nothing_left():
            test(*args, **kwargs)

    return checked  # type: ignore[return-value]


def resident_size() -> int:
    """How many bytes of memory this process has."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()
