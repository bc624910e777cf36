"""Calls from one native thread to the hub of another, and the wait for what they return."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event
from gevent.monkey import get_original

from geventws.net.mailbox import Mailbox

__all__ = ["HubGone", "call"]

# The native one, under monkey patching, too.
allocate_lock = get_original("_thread", "allocate_lock")

# The value of a call that has none yet.
NOTHING = object()

# How often a caller looks whether the hub is still there, in seconds: a thread that ends without
# having destroyed its hub tells nobody.
LOOK = 0.5

# The longest wait for a native lock, in seconds, of all systems; then it is waited for again.
LONG = 3600.0


class HubGone(Exception):
    """The hub that was to be called does not exist any more."""


class NativeBell:
    """What wakes a thread without a hub; it blocks the thread, which has nothing else to do."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Wake the thread; once, and from any thread."""
        self._lock.release()

    def wait(self, timeout: float | None) -> bool:
        """Wait until it rings; return whether it did within ``timeout`` seconds."""
        if timeout is not None:
            rung: bool = self._lock.acquire(timeout=min(max(timeout, 0), LONG))
            return rung
        while not self._lock.acquire(timeout=LONG):
            pass
        return True

    def close(self) -> None:
        """Let go of what it needs."""


class HubBell:
    """What wakes a greenlet whose thread has a hub, with other greenlets, which go on.

    Args:
        hub: that hub.
    """

    __slots__ = ("_event", "_lock", "_watcher")

    def __init__(self, hub: Any) -> None:
        self._event = Event()
        # A closed watcher must not be rung.
        self._lock = allocate_lock()
        self._watcher = hub.loop.async_()
        self._watcher.start(self._event.set)

    def ring(self) -> None:
        """Wake the greenlet; from any thread."""
        with self._lock:
            if self._watcher is not None:
                self._watcher.send()

    def wait(self, timeout: float | None) -> bool:
        """Wait until it rings; return whether it did within ``timeout`` seconds."""
        return self._event.wait(timeout)

    def close(self) -> None:
        """Let go of the watcher."""
        with self._lock:
            watcher, self._watcher = self._watcher, None
        watcher.stop()
        watcher.close()


class Call:
    """A function that another thread's hub calls, in a greenlet.

    It ends once, by one of three: it is finished, cancelled by the caller, or refused because
    the hub is gone. Who takes the token decides, since taking it is atomic.

    Args:
        mailbox: of the hub.
        function: what is called, and with which arguments.
        undo: called in the hub, with the value, if the caller went away before it got it.
        prepare: called first; up to its end the call can be cancelled.
    """

    __slots__ = (
        "_args",
        "_bell",
        "_function",
        "_greenlet",
        "_mailbox",
        "_prepare",
        "_token",
        "_undo",
        "error",
        "value",
    )

    def __init__(
        self,
        mailbox: Mailbox,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        undo: Callable[[Any], object] | None,
        prepare: Callable[[], object] | None,
    ) -> None:
        self._mailbox = mailbox
        self._function = function
        self._args = args
        self._undo = undo
        self._prepare = prepare
        self._greenlet: Any = None
        self._token = [True]
        hub = get_hub_if_exists()
        self._bell = NativeBell() if hub is None else HubBell(hub)
        # What came of it.
        self.value: Any = NOTHING
        self.error: BaseException | None = None

    def _take_token(self) -> bool:
        try:
            return self._token.pop()
        except IndexError:
            return False

    # In the hub's thread.

    def start(self) -> None:
        """Begin, in the hub."""
        if self._token:
            self._mailbox.expect(self)
            self._greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        committed = False
        try:
            if self._prepare is not None:
                self._prepare()
                committed = self._take_token()
                if not committed:
                    return
            value = self._function(*self._args)
        except BaseException as exc:
            if committed or self._take_token():
                self.error = exc
                self._bell.ring()
            if not isinstance(exc, (Exception, gevent.Timeout, gevent.GreenletExit)):
                # Ctrl-C in the thread of the hub is not the caller's alone.
                raise
        else:
            if committed or self._take_token():
                self.value = value
                self._bell.ring()
            elif self._undo is not None:
                self._undo(value)
        finally:
            self._mailbox.finish(self)

    def refuse(self) -> None:
        """Tell the caller that the hub is gone."""
        if self._take_token():
            self.error = HubGone()
            self._bell.ring()

    def _stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def _take_back(self) -> None:
        if self._undo is not None and self.value is not NOTHING:
            # In a greenlet, as in `_run`: it may have to log.
            gevent.spawn(self._undo, self.value)

    # In the caller's thread.

    def wait(self, timeout: float | None) -> None:
        """Wait for the end of the call.

        Raises:
            TimeoutError: there was none in time; the call is cancelled.
            HubGone: nobody will ever call the function.
        """
        try:
            if not self._mailbox.post(self.start):
                raise HubGone
            if not self._hear(timeout):
                if self._take_token():
                    self._mailbox.post(self._stop)
                    raise TimeoutError(f"timed out in {timeout:.1f}s")
                # It is being finished at this moment.
                self._bell.wait(None)
        finally:
            self._bell.close()

    def _hear(self, timeout: float | None) -> bool:
        """Wait for the end of the call; return whether it came within ``timeout`` seconds."""
        end = None if timeout is None else monotonic() + timeout
        while not self._bell.wait(LOOK if end is None else max(0, min(end - monotonic(), LOOK))):
            if self._mailbox.gone and self._take_token():
                raise HubGone
            if end is not None and monotonic() >= end:
                return False
        return True

    def cancel(self) -> None:
        """Undo the call, for a caller who goes away."""
        # The hub gets to it after what the call is doing, and before any later call.
        if not self._mailbox.post(self._stop if self._take_token() else self._take_back):
            self._take_back()


def call(
    mailbox: Mailbox,
    function: Callable[..., Any],
    args: tuple[Any, ...] = (),
    undo: Callable[[Any], object] | None = None,
    prepare: Callable[[], object] | None = None,
    timeout: float | None = None,
) -> Any:
    """Call a function in another thread's hub, and return what it returns.

    A caller whose own thread has a hub lets the other greenlets go on while it waits. An
    exception in the wait, Ctrl-C for instance, cancels the call.

    Args:
        mailbox: of the hub.
        function: called in a greenlet of the hub.
        args: with these arguments.
        undo: called in the hub, with the value, if the caller went away before it got it.
        prepare: called before the function; once it has returned, the call is not cancelled
            any more. Between the two nothing else runs in the hub.
        timeout: in seconds; None waits for as long as it takes.

    Raises:
        HubGone: the hub does not exist any more.
        TimeoutError: the function was not called in time, and will not be.
    """
    this = Call(mailbox, function, args, undo, prepare)
    try:
        this.wait(timeout)
    except BaseException:
        this.cancel()
        raise
    error = this.error
    if error is None:
        # Nothing is called from here on: Python looks for signals after calls, and an
        # exception out of a signal handler would lose the value.
        return this.value
    try:
        raise error
    finally:
        # Its traceback refers to this frame.
        this.error = error = None
