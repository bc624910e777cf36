"""What `geventws doctor` prints: a line for each fact, and what is wrong with it."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator
from time import perf_counter

from geventws.cli.texts import columns, escape

__all__ = ["Report"]

NAME, TEXT, WIDTH = 12, 60, 88


class Step:
    """Something that takes time."""

    def __init__(self) -> None:
        # What came of it.
        self.text = ""


class Report:
    """Prints facts as they are found out, and remembers whether one of them is bad."""

    def __init__(self) -> None:
        # How many facts are bad.
        self.problems = 0
        # What is being done, and since when.
        self._doing = ""
        self._since = 0.0

    def heading(self, text: str) -> None:
        """Begin another part."""
        print(f"\n{escape(text)}", flush=True)

    def fact(self, name: str, text: str, time: float | None = None) -> None:
        """Tell a fact.

        Args:
            name: what it is about.
            text: the fact; it may come from the other end.
            time: how many seconds it took.
        """
        text = escape(text)
        if time is not None:
            text += " " * max(TEXT - columns(text), 1) + f"{time * 1000:8.1f} ms"
        print(f"{name:<{NAME}} {text}", flush=True)

    def problem(self, name: str, text: str, advice: str, time: float | None = None) -> None:
        """Tell a bad fact.

        Args:
            name: what it is about.
            text: what is wrong.
            advice: what to do about it; its white space does not matter.
            time: how many seconds it took.
        """
        self.problems += 1
        self.fact(name, f"FAILED: {text}", time)
        indent = " " * (NAME + 1)
        advice = escape(" ".join(advice.split()))
        print(textwrap.fill(advice, WIDTH, initial_indent=indent, subsequent_indent=indent))

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Do something that takes time, then tell what came of it and how long it took.

        If it raises, `failure` tells.

        Args:
            name: what is done.
        """
        step = Step()
        self._doing, self._since = name, perf_counter()
        yield step
        self.fact(name, step.text, perf_counter() - self._since)

    def failure(self, text: str, advice: str) -> None:
        """Tell that the step under way failed; see `problem`."""
        self.problem(self._doing, text, advice, perf_counter() - self._since)

    @property
    def doing(self) -> str:
        """The name of the step under way."""
        return self._doing
