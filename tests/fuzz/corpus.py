"""The corpora: inputs that once found something or reach what others do not.

``corpus/TARGET.txt`` has one per line, as a literal of Python; a line with ``#`` is a comment.
"""

from __future__ import annotations

import ast
import pathlib

__all__ = ["TARGETS", "load", "save"]

FOLDER = pathlib.Path(__file__).with_name("corpus")

TARGETS = ["frames", "deflate", "requests", "responses", "headers", "uris"]


def load(target: str) -> list[bytes]:
    """Return the inputs for a target."""
    lines = (FOLDER / f"{target}.txt").read_text("ascii").splitlines()
    return [ast.literal_eval(line) for line in lines if not line.startswith("#")]


def save(target: str, inputs: list[bytes]) -> None:
    """Add inputs for a target, but for those that are there."""
    known = set(load(target))
    with (FOLDER / f"{target}.txt").open("a", encoding="ascii") as file:
        for data in sorted(set(inputs) - known, key=lambda data: (len(data), data)):
            file.write(f"{data!r}\n")
