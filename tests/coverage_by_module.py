"""Measures how much of each module its own test module covers.

Run as ``python -m tests.coverage_by_module [NAME...]``, in plain Python. Whatever other tests cover
by the way does not count: who changes a module finds all that holds it in one place.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

from tests.test_architecture import PATHS, ROOT, own_tests

# Per cent of lines and branches.
REQUIRED = 95.0


def measure(name: str, test: pathlib.Path) -> tuple[float, str, str]:
    """Return how much of a module its tests cover, its name, and what they do not cover."""
    source = PATHS[name]
    with tempfile.TemporaryDirectory() as folder:
        data, report = f"{folder}/data", f"{folder}/report"
        coverage = [sys.executable, "-m", "coverage"]
        run = [*coverage, "run", f"--data-file={data}", "-m", "pytest", "-q", str(test)]
        environ = {**os.environ, "GEVENTWS_PURE_PYTHON": "1", "GEVENTWS_EXPECT": "pure"}
        result = subprocess.run(run, cwd=ROOT, env=environ, capture_output=True, text=True)
        if result.returncode:
            return 0.0, name, result.stdout.strip().splitlines()[-1]
        # One for each process.
        command = [*coverage, "combine", f"--data-file={data}"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        include = f"--include={source.relative_to(ROOT)}"
        command = [*coverage, "json", f"--data-file={data}", "-o", report, include]
        subprocess.run([*command, "--fail-under=0"], cwd=ROOT, check=True, capture_output=True)
        (found,) = json.loads(pathlib.Path(report).read_text())["files"].values()
    missing = [*map(str, found["missing_lines"])]
    missing += [f"{start}->{end}" for start, end in found["missing_branches"]]
    return found["summary"]["percent_covered"], name, " ".join(missing)


def main(names: list[str]) -> int:
    """Print a line for each module that is not covered; return 1 if one of them is not enough."""
    modules = [(name, own_tests(name)) for name in names or PATHS]
    percents = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for percent, name, missing in pool.map(lambda m: measure(*m), [m for m in modules if m[1]]):
            percents.append(percent)
            if percent < 100:
                print(f"{percent:6.1f} %  {name}  {missing}", flush=True)
    print(f"{percents.count(100.0)} of {len(percents)} modules: 100 %")
    return int(min(percents) < REQUIRED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
