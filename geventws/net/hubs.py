"""What the connections of one hub share: buffer, deadlines, registry."""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Callable
from typing import Any

from gevent import GreenletExit, get_hub
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event
from greenlet import getcurrent, greenlet

from geventws.core.exceptions import ConcurrencyError
from geventws.net.keepalive import Keepalive
from geventws.net.mailbox import Mailbox
from geventws.net.threads import get_ident
from geventws.net.turns import Turns

__all__ = ["HubState", "get_hub_state"]

# One read takes at most this much: enough for a megabyte to arrive in a few reads, and
# little for a process, since connections share the buffer.
RECEIVE_BUFFER_SIZE = 256 * 1024

# Seconds that the end of a hub waits for who writes to the log: more than a handler takes, and
# little for who waits in vain, since gevent can lose the news that a lock of its own is free.
QUIET_TIMEOUT = 1.0

_all_states: weakref.WeakSet[HubState] = weakref.WeakSet()


class HubState:
    """What the connections of one hub share.

    It lives on the hub object, because a thread-local would become greenlet-local under
    monkey patching: a buffer and a keepalive greenlet for each connection.
    """

    def __init__(self, hub: Any, created_hub: bool) -> None:
        self.hub = hub
        self.loop = hub.loop
        # Switches to the hub. `hub.switch` costs 120 ns more, for a hook that only matters in
        # the hub itself.
        self.switch_to_hub: Callable[[], object] = functools.partial(greenlet.switch, hub)
        # The native thread that runs the hub; only it may use the hub's connections.
        self.thread = get_ident()
        # Where reads land; nothing refers to it once the reading callback ends.
        self.buffer = bytearray(RECEIVE_BUFFER_SIZE)
        self.view = memoryview(self.buffer)
        self.keepalive = Keepalive(hub)
        # Who does more than is fair goes on in the next turn of the loop.
        self.turns = Turns(hub)
        # What other threads want it to do.
        self.mailbox = Mailbox(hub)
        # Connections whose TCP is open.
        self.streams: set[Any] = set()
        # Greenlets that write to the log, once for each connection whose lines they write, and
        # an event for who waits until there are none.
        self.emitters: list[Any] = []
        self.quiet: Event | None = None
        # Whether geventws made the hub, for a thread that had none.
        self.created_hub = created_hub
        # Whether it is destroyed again.
        self.released = False
        # Whether the loop tells a watcher of errors, as libuv does, and only once.
        self.tells_errors = "libuv" in type(hub.loop).__module__
        # Wakes receivers; the first connection makes it.
        self.waker: Any = None
        # When it last did, on the monotonic clock.
        self.woken = 0.0
        # Fair sending: what was sent since receivers were woken, and the id of the greenlet that
        # sent a lot.
        self.spent = 0
        self.sender = 0
        _all_states.add(self)

    def require_thread(self, what: str, instead: str) -> None:
        """Refuse to let another thread use something of this hub.

        Args:
            what: is used.
            instead: what to do.
        """
        here = get_ident()
        if here != self.thread:
            raise ConcurrencyError(
                f"this {what} belongs to thread {self.thread} and was used in thread {here}; "
                f"{instead}"
            )

    def release(self) -> None:
        """Destroy the hub, if geventws made it and nothing uses it any more.

        Call it from the thread's main greenlet. Without it, each thread that connects would
        leave a loop and its descriptors behind.
        """
        if not self._can_be_released():
            return
        # Whoever waits in a log handler would never leave it, nor give back its lock.
        if self.emitters:
            self._wait_until_quiet()
        if self._can_be_released():
            self._destroy()

    def _wait_until_quiet(self) -> None:
        """Wait until no greenlet writes to the log, or for as long as that may take."""
        # To wait for a lock that another thread has does not keep the loop alive.
        alive = self.loop.async_()
        alive.start(int)
        try:
            while self.emitters:
                self.quiet = Event()
                if not self.quiet.wait(QUIET_TIMEOUT):
                    break
        finally:
            alive.stop()
            alive.close()

    def _can_be_released(self) -> bool:
        if not self.created_hub or self.streams or self.released or self.thread != get_ident():
            return False
        here = getcurrent()
        return here is self.hub.parent and here not in self.emitters

    def _destroy(self) -> None:
        # Only once: whoever closes, and the request around it, call `release`.
        self.released = True
        _all_states.discard(self)
        self.mailbox.close()
        self.keepalive.stop(block=True)
        self.turns.stop()
        del self.hub.geventws_state
        self.hub.destroy(destroy_loop=True)
        if not self.hub.dead:
            # gevent lets it wait outside of its loop, for ever: a suspended greenlet is never
            # freed, nor is whatever its frame refers to.
            self.hub.throw(GreenletExit)

    def emitted(self) -> None:
        """Note that the current greenlet has written to the log."""
        self.emitters.remove(getcurrent())
        if self.quiet is not None and not self.emitters:
            self.quiet.set()

    def abandon(self) -> None:
        """Forget all connections, which belong to the parent process now."""
        if self.hub.loop is not None:
            # Before any watcher is stopped: on libuv that would take it from the parent's
            # epoll, which is shared until then.
            self.loop.reinit()
        for stream in list(self.streams):
            stream.abandon()
        self.streams.clear()
        self.turns.stop()
        self.keepalive.stop()
        self.keepalive = Keepalive(self.hub)
        self.mailbox.abandon()
        if self.thread == get_ident():
            # The other threads exist only in the parent process.
            self.mailbox = Mailbox(self.hub)


def get_hub_state() -> HubState:
    """Return the state of this thread's hub, making hub and state if there are none."""
    created_hub = get_hub_if_exists() is None
    hub: Any = get_hub()
    try:
        state: HubState = hub.geventws_state
    except AttributeError:
        state = hub.geventws_state = HubState(hub, created_hub and not _is_main_thread(hub))
    return state


def _is_main_thread(hub: Any) -> bool:
    return bool(hub.loop.default)


def _after_fork_in_child() -> None:
    # The child's copies of the watchers would read the parent's bytes, and its sends would
    # fall between the parent's frames.
    failures = []
    for state in list(_all_states):
        try:
            state.abandon()
        except Exception as exc:
            # Whatever is wrong with one hub, perhaps destroyed by its thread: the others
            # must not touch what is the parent's.
            failures.append(exc)
    if failures:
        raise ExceptionGroup("cannot forget connections after a fork", failures)


os.register_at_fork(after_in_child=_after_fork_in_child)
