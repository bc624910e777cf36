"""What the fuzzer found, and what it should begin with, is tried again in each run."""

from __future__ import annotations

import importlib

import pytest

from geventws.build import build_name
from tests.fuzz.builds import BUILDS
from tests.fuzz.corpus import TARGETS, load


@pytest.mark.parametrize("target", TARGETS)
def test_corpus(target: str) -> None:
    inputs = load(target)
    assert len(set(inputs)) == len(inputs) > 10
    check = importlib.import_module(f"tests.fuzz.targets.{target}").check
    for data in inputs:
        try:
            check(data)
        except Exception as exc:
            exc.add_note(f"input: {data!r}")
            raise


def test_both_builds_are_compared() -> None:
    plain, other = ({module.__file__ for module in vars(build).values()} for build in BUILDS)
    assert all(path.endswith(".py") for path in plain)
    assert plain.isdisjoint(other) is (build_name() == "compiled")
