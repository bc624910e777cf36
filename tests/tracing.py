"""Lets coverage see what it misses: native threads without `threading`, and switches of greenlets.

geventws starts such threads. And coverage notices that another greenlet runs only when a function
is called or returns: what follows a switch, up to there, it takes for the greenlet before.
"""

from __future__ import annotations

import _thread
import sys
import threading
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import greenlet

_start_new_thread = _thread.start_new_thread


def trace_native_threads() -> None:
    """Trace new threads as those of `threading` are; call it before geventws is imported."""
    _thread.start_new_thread = _start_traced_thread


def _start_traced_thread(
    function: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None
) -> int:
    def run() -> None:
        sys.settrace(threading.gettrace())
        trace_switches()
        function(*args, **(kwargs or {}))

    return _start_new_thread(run, ())


def trace_switches() -> None:
    """Tell coverage when another greenlet of this thread runs, by a call that does nothing."""
    frame: FrameType = sys._getframe()

    def switched(event: str, args: object) -> None:
        if tracer := sys.gettrace():
            tracer(frame, "call", None)
            tracer(frame, "return", None)

    greenlet.settrace(switched)
