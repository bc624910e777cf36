"""Tests of geventws.net.threads; what it is for is tested in test_hubs."""

from __future__ import annotations

import gevent
from gevent.event import Event
from gevent.monkey import get_original

from geventws.net.threads import get_ident
from tests.net.support import PATIENCE


def test_a_thread_has_its_own() -> None:
    found: list[int] = []
    done = get_original("threading", "Event")()

    def look() -> None:
        found.append(get_ident())
        done.set()

    get_original("_thread", "start_new_thread")(look, ())
    assert done.wait(PATIENCE)
    assert found != [get_ident()]
    assert get_ident() == get_original("_thread", "get_ident")()


def test_greenlets_share_their_thread() -> None:

    event = Event()
    greenlet = gevent.spawn(lambda: (event.wait(PATIENCE), get_ident())[1])
    event.set()
    assert greenlet.get(timeout=PATIENCE) == get_ident()
