"""What is made of many measurements."""

from __future__ import annotations

import statistics


def slowest(values: list[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(values, n=100)[-1]
