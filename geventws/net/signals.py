"""Signals that end a program's `serve_forever`."""

from __future__ import annotations

import contextlib
import gc
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

import gevent
import gevent.hub
from gevent.monkey import get_original

from geventws.net.stream import READ

__all__ = ["free_signals", "on_signals", "signals_wake"]

# What init systems, containers and a terminal's Ctrl-C end a program with.
USUAL = (signal.SIGTERM, signal.SIGINT)

# What Python does where a program has said nothing.
UNTOUCHED = (signal.SIG_DFL, signal.default_int_handler)


def free_signals() -> list[int]:
    """Return which of the signals that usually end programs this program does not handle.

    None unless this is the main greenlet of the main thread: elsewhere the program would go
    on without its server.
    """
    hub: Any = gevent.get_hub()
    if gevent.getcurrent() is not hub.parent or not hub.loop.default or _uses_gevent_handlers():
        return []
    return [number for number in USUAL if signal.getsignal(number) in UNTOUCHED]


def _uses_gevent_handlers() -> bool:
    """Whether `gevent.signal_handler` has set a handler, for whichever signal.

    Python does not know of those, and they do not tell their signal.
    """
    kind: Any = gevent.hub.signal
    referrers = gc.get_referrers(kind)
    return any(isinstance(thing, kind) and thing.watcher is not None for thing in referrers)


@contextlib.contextmanager
def on_signals(signals: Iterable[int], callback: Callable[[], object]) -> Iterator[None]:
    """Call a function in a greenlet at the first of some signals, inside a ``with`` block.

    From then on the signals do what the system does without a handler: a second one ends the
    process at once, whatever it is busy with.

    Args:
        signals: numbers of signals.
        callback: what to call.

    Raises:
        ValueError: this is not the main thread, or there is no such signal.
        OSError: there can be no handler for this signal.
    """
    hub: Any = gevent.get_hub()
    previous: dict[int, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        # Python calls this wherever it happens to be, perhaps in the middle of a frame.
        for taken in previous:
            signal.signal(taken, signal.SIG_DFL)
        hub.loop.run_callback(gevent.spawn, callback)

    try:
        for number in signals:
            previous[number] = signal.signal(number, handle)
        with signals_wake() if previous else contextlib.nullcontext():
            yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def signals_wake() -> Iterator[None]:
    """Let signals wake this thread's loop, inside a ``with`` block in the main thread.

    Python calls a handler between two of its instructions. A signal that arrives behind the
    last of them, just before libev begins to wait, is not noticed before something else happens:
    on a server without traffic, not for minutes.

    Where the program has set `signal.set_wakeup_fd` itself, that is left alone.
    """
    reader, writer = get_original("socket", "socketpair")()
    with reader, writer:
        for end in (reader, writer):
            end.setblocking(False)
        previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        if previous != -1:
            signal.set_wakeup_fd(previous)
        watcher: Any = gevent.get_hub().loop.io(reader.fileno(), READ, ref=False)
        watcher.start(_drain, reader)
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous)
            watcher.stop()
            watcher.close()


def _drain(reader: socket.socket) -> None:
    """Take the signals' numbers; as this is Python, their handlers have been called by then."""
    with contextlib.suppress(BlockingIOError):
        reader.recv(4096)
