"""Compare geventws with its peers: ``make bench``, or ``python -m tests.bench``.

The candidates take turns, so that a machine whose speed drifts is as fast for one as for the
other, and medians are shown. What is measured and what loads it run on cores of their own.
docs/topics/performance.rst says what each number means.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import pathlib
import platform
import statistics
import sys
import tempfile

from tests.bench.candidates import GEVENTWS, PLAIN, is_compiled
from tests.bench.measures import Bench, Measured
from tests.bench.native import compile_programs
from tests.bench.plot import check_plotting, plot
from tests.bench.processes import Failed, allow_many_files, cores
from tests.bench.scenario import Scenario, load_scenarios
from tests.bench.table import Medians, show

SECONDS, QUICK_SECONDS = 1.0, 0.2
ROUNDS, QUICK_ROUNDS = 5, 1
# Part of the thousands of connections that --quick opens.
QUICK_SCALE = 0.1

PACKAGES = [
    "gevent",
    "picows",
    "uvloop",
    "websockets",
    "aiohttp",
    "gevent-websocket",
    "simple-websocket",
    "websocket-client",
]


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--only", metavar="LETTERS", help="questions, such as a,b (default: all)")
    parser.add_argument("--rounds", type=int, help=f"turns of each candidate (default {ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="small and short: to see it work")
    parser.add_argument("--plot", metavar="FILE.png", help="draw the first column of each table")
    return parser.parse_args()


def introduction(places: tuple[int, int] | None) -> str:
    """Say where and with what this is measured."""
    build = "compiled" if is_compiled() else "plain Python"
    lines = [f"geventws {importlib.metadata.version('geventws')} ({build})"]
    for package in PACKAGES:
        try:
            lines[0] += f", {package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            lines[0] += f", no {package}"
    lines.append(f"Python {platform.python_version()}, {platform.platform()}")
    lines.append(
        f"measured on core {places[0]}, load on core {places[1]}"
        if places
        else "there is one core for both: the throughputs mean nothing"
    )
    return "\n".join(lines)


def choose(scenarios: list[Scenario], letters: str | None) -> list[Scenario]:
    """Return the scenarios of some letters; None means all."""
    if letters is None:
        return scenarios
    known, wanted = {scenario.letter for scenario in scenarios}, letters.split(",")
    if unknown := set(wanted) - known:
        sys.exit(f"no question {', '.join(sorted(unknown))}: choose from {','.join(sorted(known))}")
    return [scenario for scenario in scenarios if scenario.letter in wanted]


def candidates_of(scenario: Scenario) -> list[str]:
    """Return whom to measure: geventws once, where it has no compiled modules."""
    twice = GEVENTWS in scenario.candidates and not is_compiled()
    return [name for name in scenario.candidates if not (twice and name == PLAIN)]


def ask(scenario: Scenario, bench: Bench, rounds: int) -> Medians:
    """Measure a scenario; candidates that fail are left out, and why is printed."""
    names = candidates_of(scenario)
    measured: dict[str, list[Measured]] = {name: [] for name in names}
    try:
        for turn in range(rounds):
            # Nobody always runs first, or behind the same one.
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                if name not in measured:
                    continue
                try:
                    measured[name].append(scenario.measure(bench, name))
                except Failed as exc:
                    print(f"{name} is left out: {exc}")
                    del measured[name]
    finally:
        bench.end_servers()
    return {
        name: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        for name, rows in measured.items()
    }


def main() -> None:
    """Print a table for each question."""
    arguments = parse_arguments()
    if arguments.plot:
        check_plotting()
    rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else ROUNDS)
    scenarios = choose(load_scenarios(), arguments.only)
    allow_many_files()
    places = cores()
    print(introduction(places))
    if arguments.quick:
        print("quick: these figures are good for nothing but to see that it works")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        compile_programs(pathlib.Path(folder))
        seconds, scale = (QUICK_SECONDS, QUICK_SCALE) if arguments.quick else (SECONDS, 1)
        bench = Bench(pathlib.Path(folder), places, seconds, scale)
        for scenario in scenarios:
            turns = min(rounds, scenario.most_rounds)
            print(f"\n{scenario.letter}. {scenario.question}; rounds: {turns}")
            if scenario.note:
                print(scenario.note)
            sys.stdout.flush()
            results.append((scenario, ask(scenario, bench, turns)))
            print(show(*results[-1]), flush=True)
    if arguments.plot:
        plot(results, arguments.plot)


if __name__ == "__main__":
    main()
