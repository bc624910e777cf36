"""Tests of geventws.net.feeding: an iterable whose items come one by one, from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from geventws.net.feeding import Feed
from geventws.net.mailbox import Mailbox
from tests.net.support import turns


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    mailbox = Mailbox(gevent.get_hub())
    yield mailbox
    mailbox.close()


def test_items_arrive_as_they_are_given(mailbox: Mailbox) -> None:
    arrived: list[int] = []

    def send(items: Iterator[Any]) -> None:
        for item in items:
            arrived.append(item)

    feed = Feed(mailbox, send)
    feed.start()
    for number in range(3):
        feed.give(number)
        assert arrived == list(range(number + 1))
    feed.end()


def test_errors_of_the_sender(mailbox: Mailbox) -> None:
    def send(items: Iterator[Any]) -> None:
        for item in items:
            raise ValueError(item)

    feed = Feed(mailbox, send)
    feed.start()
    with pytest.raises(ValueError, match="seven"):
        feed.give("seven")
    feed.stop()


def test_stop_ends_the_sender(mailbox: Mailbox) -> None:
    ended: list[BaseException] = []

    def send(items: Iterator[Any]) -> None:
        try:
            list(items)
        except BaseException as exc:
            ended.append(exc)
            raise

    feed = Feed(mailbox, send)
    feed.stop()
    feed.start()
    feed.give(1)
    feed.stop()
    feed.stop()
    assert isinstance(ended[0], gevent.GreenletExit)


def test_the_hub_stays_until_it_is_over(mailbox: Mailbox) -> None:
    feed = Feed(mailbox, list)
    feed.start()
    assert not mailbox.close_if_idle()
    feed.end()
    assert mailbox.close_if_idle()


def test_the_hub_does_not_stay_for_one_that_never_began(mailbox: Mailbox) -> None:
    feed = Feed(mailbox, list)
    starting = gevent.spawn(feed.start)
    gevent.sleep(0)
    starting.kill(block=False)
    feed.stop()
    turns()
    assert mailbox.close_if_idle()
