"""Lets coverage see native threads that were started without `threading`, as geventws does."""

from __future__ import annotations

import _thread
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

_start_new_thread = _thread.start_new_thread


def trace_native_threads() -> None:
    """Trace new threads as those of `threading` are; call it before geventws is imported."""
    _thread.start_new_thread = _start_traced_thread


def _start_traced_thread(
    function: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None
) -> int:
    def run() -> None:
        sys.settrace(threading.gettrace())
        function(*args, **(kwargs or {}))

    return _start_new_thread(run, ())
