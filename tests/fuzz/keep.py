"""Tell what inputs reach, and choose some for a corpus: the shortest that reach something new."""

from __future__ import annotations

import importlib
import pathlib
from collections.abc import Callable, Iterable

import coverage

import geventws.core
from tests.fuzz.corpus import load, save

__all__ = ["keep", "reach"]

# Bytes of an input that can be read in a review.
MAX_SIZE = 120

Branches = set[tuple[str, tuple[int, int]]]


def measure(check: Callable[[bytes], None], inputs: Iterable[bytes]) -> coverage.Coverage:
    """Return what inputs reach of the core."""
    measured = coverage.Coverage(data_file=None, branch=True, source=list(geventws.core.__path__))
    with measured.collect():
        for data in inputs:
            check(data)
    return measured


def branches(check: Callable[[bytes], None], inputs: Iterable[bytes]) -> Branches:
    """Return the branches of the core that inputs take."""
    found = measure(check, inputs).get_data()
    return {(path, arc) for path in found.measured_files() for arc in found.arcs(path) or ()}


def reach(target: str, folder: pathlib.Path) -> tuple[int, int]:
    """Return how many branches its modules have, and how many a target's inputs take."""
    module = importlib.import_module(f"tests.fuzz.targets.{target}")
    inputs = [*load(target), *(path.read_bytes() for path in folder.glob("*"))]
    measured = measure(module.check, inputs)
    paths = [f"{geventws.core.__path__[0]}/{name}.py" for name in module.MODULES]
    exits = [count for path in paths for count in measured.branch_stats(path).values()]
    return sum(total for total, _ in exits), sum(taken for _, taken in exits)


def keep(target: str, folder: pathlib.Path) -> int:
    """Add inputs from a folder to the corpus of a target; return how many."""
    check = importlib.import_module(f"tests.fuzz.targets.{target}").check
    known = branches(check, load(target))
    chosen = []
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_size):
        data = path.read_bytes()
        if len(data) <= MAX_SIZE and not (taken := branches(check, [data])) <= known:
            known |= taken
            chosen.append(data)
    save(target, chosen)
    return len(chosen)
