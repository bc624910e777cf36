"""Fuzz one target: ``python -m tests.fuzz.search TARGET CPU-SECONDS ARGUMENTS-OF-LIBFUZZER``."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from types import FrameType

import atheris


def stop(signum: int, frame: FrameType | None) -> None:
    """Ask libFuzzer to end and say what it did."""
    os.kill(os.getpid(), signal.SIGUSR1)


def main() -> None:
    """Fuzz until the time is up."""
    name, seconds, *arguments = sys.argv[1:]
    # What is compiled cannot be instrumented: what the plain modules do leads the way.
    with atheris.instrument_imports(include=["geventws"]):
        target = importlib.import_module(f"tests.fuzz.targets.{name}")
    atheris.Setup([sys.argv[0], *arguments], target.check)
    # CPU time: on a busy machine the clock says nothing about how much was tried.
    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, float(seconds))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
