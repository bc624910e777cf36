"""Examine geventws with Autobahn|Testsuite, and compare with ``expected.json``.

``make compliance`` runs it: servers and clients, compiled and plain, in the cases that
``expected.json`` lists. Sections 12 and 13 are about compression and take long: in these one
build is examined, in half of the cases, or with ``--all`` in all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shlex
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed

from tests.compliance.examination import Examination, Failed, Results

REPORTS = pathlib.Path(__file__).resolve().parents[2] / "build/compliance"
EXPECTED = pathlib.Path(__file__).with_name("expected.json")

# Each subsection of 12 and 13 sends 1,000 messages of 16 bytes to 128 KiB, and then of 8 to
# 128 KiB in fragments. These are those of up to 16 KiB.
SOME = {"1", "2", "3", "4", "5", "6", "7", "11", "12"}

# Sections that are examined together. In the first of these parts most of the time is spent
# waiting; the order is that of how long they take.
PARTS = {"13": "13", "12": "12", "9": "9", "1-7,10": "1 2 3 4 5 6 7 10"}
DEFLATE = ("12", "13")

# Seconds per case, many times what the slowest needs, and for the beginning.
PER_CASE, BEGINNING = 60, 60


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.compliance", description=__doc__)
    parser.add_argument("--all", action="store_true", help="all cases of sections 12 and 13")
    parser.add_argument(
        "--wstest", type=shlex.split, required=True, help="the command that runs Autobahn|Testsuite"
    )
    return parser.parse_args()


def section(case: str) -> str:
    """Return the section of a case."""
    return case.partition(".")[0]


def is_chosen(case: str) -> bool:
    """Tell whether a case is run without ``--all``."""
    return section(case) not in DEFLATE or case.rpartition(".")[2] in SOME


def plan(cases: list[str], builds: tuple[str, ...]) -> list[Examination]:
    """Return what is to be done, what takes longest first.

    Args:
        cases: the numbers of the cases.
        builds: which builds there are, in the first of which compression is examined.
    """
    examinations = []
    for part, sections in PARTS.items():
        chosen = [case for case in cases if section(case) in sections.split()]
        if not chosen:
            continue
        for build in builds if part not in DEFLATE else builds[:1]:
            for role in ("client", "server"):
                name = f"{build} {role} {part}".replace(" ", "-")
                limit = BEGINNING + PER_CASE * len(chosen)
                examinations.append(Examination(name, build, role, chosen, limit))
    return examinations


def differences(expected: Results, found: Results) -> list[str]:
    """Say what is not as expected."""
    return [
        f"{case}: expected {expected.get(case)}, found {found.get(case)}"
        for case in sorted(expected.keys() | found.keys())
        if expected.get(case) != found.get(case)
    ]


def load_expected(all_cases: bool) -> Results:
    """Return the cases to run, and what must come of them."""
    expected: Results = json.loads(EXPECTED.read_text())
    return {case: result for case, result in expected.items() if all_cases or is_chosen(case)}


def builds() -> tuple[str, ...]:
    """Return which builds there are here: the Makefile says whether there is a compiler."""
    compiled = os.environ.get("GEVENTWS_EXPECT", "compiled") == "compiled"
    return ("compiled", "plain Python") if compiled else ("plain Python",)


def report(examination: Examination, expected: Results, found: Results) -> bool:
    """Print what came of an examination; return whether that was expected."""
    due = {case: expected[case] for case in examination.cases}
    wrong = differences(due, found)
    counts = Counter(behavior for behavior, _, _ in found.values())
    summary = ", ".join(f"{count} {behavior}" for behavior, count in counts.most_common())
    print(f"{examination.name}: {summary} of {len(due)}; {len(wrong)} not as expected")
    print("".join(f"    {line}\n" for line in wrong), end="", flush=True)
    return not wrong


def main() -> None:
    """Examine, and fail if anything is not as expected."""
    arguments = parse_arguments()
    expected = load_expected(arguments.all)
    failed = False
    began = time.monotonic()
    # wstest keeps a core busy.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {
            pool.submit(examination.run, arguments.wstest, REPORTS): examination
            for examination in plan(list(expected), builds())
        }
        for future in as_completed(running):
            try:
                failed |= not report(running[future], expected, future.result())
            except Failed as exc:
                failed = True
                print(exc, flush=True)
    print(f"{time.monotonic() - began:.0f} s; the reports are in {REPORTS}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
