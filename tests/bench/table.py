"""Tables: medians, how geventws compares, and the bars."""

from __future__ import annotations

from tests.bench.scenario import Bar, Metric, Scenario

__all__ = ["show"]

# Median of each metric, by candidate.
Medians = dict[str, dict[str, float]]

NAME_WIDTH = 24


def show(scenario: Scenario, medians: Medians) -> str:
    """Write the table of a scenario."""
    lines = [heading(scenario)]
    lines += [row(scenario, name, medians) for name in scenario.candidates if name in medians]
    lines += [f"  {line}" for bar in scenario.bars if (line := judge(scenario, bar, medians))]
    return "\n".join(lines)


def heading(scenario: Scenario) -> str:
    """Write the line of titles."""
    line = " " * NAME_WIDTH
    for metric in scenario.metrics:
        line += f"{metric.title:>{width(metric)}}" + ("  (ours is)" if metric.compared else "")
    return line


def row(scenario: Scenario, name: str, medians: Medians) -> str:
    """Write the line of a candidate; behind what is compared: ours as a part of it."""
    line = f"{name:{NAME_WIDTH}}"
    ours = medians.get(scenario.subject)
    for metric in scenario.metrics:
        value = medians[name][metric.key]
        line += f"{value:{width(metric)},.{metric.digits}f}"
        if metric.compared:
            ratio = f"{ours[metric.key] / value:.2f} x" if ours and value else ""
            line += f"{ratio:>11}"
    return line


def judge(scenario: Scenario, bar: Bar, medians: Medians) -> str | None:
    """Write what the bar is and what was measured; None if one of the two was not."""
    if scenario.subject not in medians or (bar.against and bar.against not in medians):
        return None
    measured = medians[scenario.subject][bar.metric.key]
    unit = ""
    if bar.against:
        measured /= medians[bar.against][bar.metric.key]
        unit = f" x {bar.against}"
    sign = ">=" if bar.at_least else "<="
    return f"{bar.metric.title}: bar {sign} {bar.limit:.2f}{unit}, measured {measured:.2f}"


def width(metric: Metric) -> int:
    """How wide a column is."""
    return len(metric.title) + 3
