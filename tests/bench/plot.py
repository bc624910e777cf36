"""The tables as a picture: one bar chart per question."""

from __future__ import annotations

import sys

from tests.bench.candidates import GEVENTWS, PLAIN
from tests.bench.scenario import Scenario
from tests.bench.table import Medians

__all__ = ["check_plotting", "plot"]

COLUMNS = 3
OURS, PEERS = "#2a7f62", "#b8bcc2"


def check_plotting() -> None:
    """End the program if it could not draw, before it has measured."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        sys.exit("--plot needs matplotlib: pip install matplotlib, or run it by make bench.")


def plot(results: list[tuple[Scenario, Medians]], file: str) -> None:
    """Draw the first metric of each question."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = -(-len(results) // COLUMNS)
    figure, axes = pyplot.subplots(rows, COLUMNS, figsize=(15, 3 * rows), squeeze=False)
    for axis in axes.flat[len(results) :]:
        axis.axis("off")
    for axis, (scenario, medians) in zip(axes.flat, results, strict=False):
        metric = scenario.metrics[0]
        names = list(medians)[::-1]
        values = [medians[name][metric.key] for name in names]
        colors = [OURS if name in (GEVENTWS, PLAIN) else PEERS for name in names]
        drawn = axis.barh(names, values, color=colors)
        axis.bar_label(drawn, fmt=f"%.{metric.digits}f", padding=3, fontsize=8)
        axis.set_title(f"{scenario.letter}. {scenario.question}", fontsize=8, loc="left")
        axis.set_xlabel(metric.title, fontsize=8)
        axis.tick_params(labelsize=8)
        axis.margins(x=0.15)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
