"""A native thread that runs the hub of connections in the background."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event
from gevent.monkey import get_original, is_module_patched

from geventws.core.frames import CloseCode
from geventws.net.calls import HubGone, call
from geventws.net.connection import Connection
from geventws.net.hubs import HubState, get_hub_state
from geventws.net.mailbox import Mailbox
from geventws.net.threads import get_ident

__all__ = ["HubThread", "shared_thread"]

# The native ones, under monkey patching, too.
RLock = get_original("_thread", "RLock")
allocate_lock = get_original("_thread", "allocate_lock")

# Seconds that connections get for their closing handshake when the interpreter exits; then
# TCP is closed, for which the thread gets as long again.
EXIT_TIME = 1.0


class HubThread:
    """A native thread with a hub; it ends with the last of its connections.

    All connections in the background share one: a hub of its own would cost each of them
    three descriptors, a stack, and a place in the queue for the interpreter's lock.
    """

    def __init__(self) -> None:
        # Held by the thread for as long as it lives, then by whoever makes a call.
        self._life = RLock()
        # How many connections are not closed; only the thread looks at it.
        self._connections = 0
        self._state: HubState | None = None
        # Why there is none.
        self._failure: BaseException | None = None
        self._start()

    def _start(self) -> None:
        """Start the thread, and wait until its hub is there."""
        started = allocate_lock()
        started.acquire()
        if is_module_patched("threading"):
            get_original("_thread", "start_new_thread")(self._run, (started,))
        else:
            # This one has a name in log lines and debuggers.
            threading.Thread(
                target=self._run, args=(started,), name="geventws", daemon=True
            ).start()
        started.acquire()
        if self._failure is not None:
            raise self._failure

    def _run(self, started: Any) -> None:
        with self._life:
            try:
                self._state = state = get_hub_state()
                _all_threads.add(self)
            except BaseException as exc:
                self._failure = exc
                return
            finally:
                started.release()
            idle = Event()
            state.mailbox.on_idle = idle.set
            # Keeps the loop waiting for calls while there are no connections.
            keep = state.loop.async_()
            keep.start(lambda: None)
            while True:
                idle.wait()
                idle.clear()
                if not self._connections and state.mailbox.close_if_idle():
                    break
            keep.stop()
            keep.close()
            state.release()

    @property
    def mailbox(self) -> Mailbox:
        """Where the thread's hub takes calls."""
        return self.state.mailbox

    @property
    def state(self) -> HubState:
        """The state of the thread's hub."""
        assert self._state is not None
        return self._state

    def open(self, connect: Callable[[], Connection]) -> Any:
        """Open a connection.

        Raises:
            HubGone: the thread has ended, with the last of its connections.
        """
        return call(self.mailbox, self._open, (connect,), undo=_give_up)

    def _open(self, connect: Callable[[], Connection]) -> Connection:
        ws = connect()
        self._connections += 1
        ws._on_end(self._ended)
        return ws

    def _ended(self, _: object) -> None:
        self._connections -= 1
        self.mailbox.on_idle()

    def run(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        undo: Callable[[Any], object] | None = None,
    ) -> Any:
        """Call a function of a connection in the hub, and return what it returns.

        After the end of the thread nothing moves any more, and nothing waits: then the
        function is called here, by one thread at a time.
        """
        try:
            return call(self.mailbox, function, args, undo)
        except HubGone:
            with self._life:
                self.state.thread = get_ident()
                return function(*args)

    # The ends of processes.

    def close(self) -> None:
        """Close all connections and wait for the end of the thread, but not for long."""
        for close in (_give_up, Connection._lost):
            # If it takes no posts, it is ending, and must not be interrupted either: greenlets
            # do not survive that.
            self.mailbox.post(gevent.spawn, self._close_all, close)
            if self._life.acquire(timeout=EXIT_TIME):
                self._life.release()
                return

    def _close_all(self, close: Callable[[Any], object]) -> None:
        for ws in list(self.state.streams):
            close(ws)
        # There may have been no connection yet.
        self.mailbox.on_idle()

    def abandon(self) -> None:
        """Note, after a fork, that the thread exists only in the parent process."""
        self._life = RLock()


def _give_up(ws: Connection) -> None:
    """Close a connection that nobody waits for."""
    ws._begin_close(CloseCode.GOING_AWAY)


_all_threads: weakref.WeakSet[HubThread] = weakref.WeakSet()

# The thread that new connections share, and the right to replace it.
_shared: HubThread | None = None
_sharing = RLock()


def shared_thread() -> HubThread:
    """Return the thread that runs connections in the background; start it if there is none."""
    global _shared
    with _sharing:
        if _shared is None or _shared.mailbox.gone:
            _shared = HubThread()
        return _shared


@atexit.register
def _close_all() -> None:
    # A thread that still runs when the interpreter goes away might crash it.
    for thread in list(_all_threads):
        thread.close()


def _after_fork_in_child() -> None:
    global _sharing
    _sharing = RLock()
    for thread in list(_all_threads):
        thread.abandon()


# After what hubs do, which is registered before.
os.register_at_fork(after_in_child=_after_fork_in_child)
