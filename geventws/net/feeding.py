"""Feeding a hub with the fragments of a message that another native thread makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
from gevent.event import Event

from geventws.net.mailbox import Mailbox

__all__ = ["Feed"]


class Feed:
    """An iterable for `send` in the hub, whose items come from another thread, one by one.

    The methods are called in greenlets of the hub. `start` and `give` return when `send` wants
    another fragment, `end` when it is done; they raise what it raises.

    Args:
        mailbox: of the hub.
        send: called with the feed.
    """

    def __init__(self, mailbox: Mailbox, send: Callable[[Iterator[Any]], None]) -> None:
        self._mailbox = mailbox
        self._send = send
        self._greenlet: gevent.Greenlet[..., Any] | None = None
        # What was given, and whether that was all.
        self._fragment: Any = None
        self._complete = False
        self._given = Event()
        # Set when `send` wants a fragment, or is over, perhaps by an error.
        self._wanted = Event()
        self._over = False
        self._error: BaseException | None = None

    def start(self) -> None:
        """Begin to send."""
        self._mailbox.expect(self)
        self._greenlet = gevent.spawn(self._run)
        self._wait()

    def give(self, fragment: Any) -> None:
        """Send a fragment."""
        self._fragment = fragment
        self._given.set()
        self._wait()

    def end(self) -> None:
        """End the message."""
        self._complete = True
        self._given.set()
        self._wait()

    def stop(self) -> None:
        """Give up, as `send` does when its iterable fails; nothing happens if it is over."""
        if self._greenlet is not None:
            self._greenlet.kill()
            # It may not have begun.
            self._mailbox.finish(self)

    def _wait(self) -> None:
        self._wanted.wait()
        if self._error is not None:
            raise self._error
        if not self._over:
            self._wanted.clear()

    def refuse(self) -> None:
        """The hub is gone, for the mailbox; it does not go before the feed is over."""

    # In the greenlet that sends.

    def _run(self) -> None:
        try:
            self._send(self)
        except BaseException as exc:
            self._error = exc
        finally:
            self._over = True
            self._wanted.set()
            self._mailbox.finish(self)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self._wanted.set()
        self._given.wait()
        self._given.clear()
        if self._complete:
            raise StopIteration
        return self._fragment
