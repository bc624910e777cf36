"""A mailbox: what other native threads want a hub to do."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from gevent.monkey import get_original

__all__ = ["Mailbox"]

# The native one, under monkey patching, too. A signal handler, or the garbage collector, may
# post while its own thread is posting.
RLock = get_original("_thread", "RLock")


class Pending(Protocol):
    """Somebody who waits for something that happens in the hub."""

    def refuse(self) -> None:
        """Give up: the hub is gone."""


class Mailbox:
    """Functions that other native threads post, and that the hub calls, in order.

    gevent's ``run_callback_threadsafe`` changes the loop's counters from the other thread, and
    it does not tell when the loop is gone.

    Args:
        hub: the hub; the mailbox is made, and closed, in its thread.
    """

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self._lock = RLock()
        self._closed = False
        self._posts: deque[tuple[Callable[..., object], tuple[Any, ...], int]] = deque()
        # Bytes posted and bytes delivered, ever; each is written by one side only.
        self._posted = self._delivered = 0
        # Who must be told if the hub goes away; only the hub's thread looks at it.
        self._pending: set[Pending] = set()
        # Called in the hub's thread when nobody is pending any more.
        self.on_idle: Callable[[], object] = lambda: None
        # It does not keep the loop alive, so that programs end when nothing else is left to do.
        self._bell: Any = hub.loop.async_(ref=False)
        self._bell.start(self._deliver)

    def post(self, function: Callable[..., object], *args: Any, size: int = 0) -> bool:
        """Let the hub call a function, soon; for any thread.

        Args:
            function: called in the hub, where nothing may wait.
            args: what it is called with.
            size: how many bytes wait with it.

        Returns:
            False if the hub is gone; the function is not called then.
        """
        with self._lock:
            if self.gone:
                return False
            self._posts.append((function, args, size))
            self._posted += size
            try:
                self._bell.send()
            except Exception:
                # Somebody else destroyed the hub.
                self._posts.pop()
                self._posted -= size
                return False
            return True

    @property
    def gone(self) -> bool:
        """Whether the hub is gone."""
        return self._closed or self._hub.dead

    @property
    def waiting(self) -> int:
        """How many bytes wait to be delivered."""
        return self._posted - self._delivered

    def _deliver(self) -> None:
        """Call what was posted; without the lock, for which the hub might have to wait."""
        for _ in range(len(self._posts)):
            function, args, size = self._posts.popleft()
            self._delivered += size
            try:
                function(*args)
            except BaseException:
                self._hub.handle_error(self, *sys.exc_info())

    # For the hub's thread only.

    def expect(self, pending: Pending) -> None:
        """Remember somebody who waits for what happens in the hub."""
        self._pending.add(pending)

    def finish(self, pending: Pending) -> None:
        """Forget somebody who waits no more."""
        self._pending.discard(pending)
        if not self._pending:
            self.on_idle()

    def close_if_idle(self) -> bool:
        """Close unless something was posted, or somebody is pending; return whether it did."""
        with self._lock:
            if self._posts or self._pending:
                return False
            self.close()
            return True

    def close(self) -> None:
        """Take no more posts, and refuse those who wait: the hub is about to be destroyed."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._bell.stop()
            self._bell.close()
        self._deliver()
        for pending in list(self._pending):
            pending.refuse()
        self._pending.clear()

    def abandon(self) -> None:
        """Forget all, after a fork: whoever posted and waits does so in the parent process."""
        # Another thread of the parent may have held it at that moment.
        self._lock = RLock()
        self._closed = True
        self._posts.clear()
        self._pending.clear()
        # Its thread may have destroyed the hub, and its loop.
        with contextlib.suppress(ValueError):
            self._bell.stop()
            self._bell.close()
