"""A scenario: one question, who is asked, and what the answer should be."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import NamedTuple

from tests.bench import scenarios
from tests.bench.candidates import GEVENTWS
from tests.bench.measures import Measure

__all__ = ["CPU", "LOAD_COLUMNS", "RATE", "Bar", "Metric", "Scenario", "load_scenarios"]


class Metric(NamedTuple):
    """A column of a table."""

    # Name in what a measure returns.
    key: str
    title: str
    digits: int = 0
    # Whether a column beside it compares geventws with each candidate.
    compared: bool = False


CPU = Metric("cpu", "CPU µs/message", 2, compared=True)
RATE = Metric("rate", "messages/s", compared=True)
# How busy the two cores were: a load generator near 100 % is the bottleneck.
LOAD_COLUMNS = [Metric("server", "server busy %"), Metric("load", "load busy %")]


class Bar(NamedTuple):
    """A bar that geventws is measured by; it is shown, never asserted."""

    metric: Metric
    limit: float
    # The peer whose multiple the limit is; None where it is absolute.
    against: str | None = None
    at_least: bool = False


@dataclass(frozen=True)
class Scenario:
    """One question, and one table."""

    letter: str
    question: str
    candidates: list[str]
    measure: Measure
    metrics: list[Metric]
    bars: list[Bar]
    # Whose values the bars and the ratios are about.
    subject: str = GEVENTWS
    # More rounds change nothing where hardly anything varies.
    most_rounds: int = 100
    # What a reader must know to read the table.
    note: str = ""


def load_scenarios() -> list[Scenario]:
    """Return all scenarios, by letter."""
    found: list[Scenario] = []
    for module in pkgutil.iter_modules(scenarios.__path__, f"{scenarios.__name__}."):
        found += importlib.import_module(module.name).SCENARIOS
    return sorted(found, key=lambda scenario: scenario.letter)
