"""Fuzz the targets one after the other: ``make fuzz``, or ``python -m tests.fuzz``.

What was reached stays in ``build/fuzz``, where the next run goes on. An input that breaks
something is printed: add it to the target's corpus, which ``make test`` replays.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import pathlib
import subprocess
import sys

from tests.fuzz.corpus import TARGETS, load
from tests.fuzz.keep import keep, reach

BUILD = pathlib.Path(__file__).resolve().parents[2] / "build/fuzz"

# Bytes of an input: enough for a head of several lines; what is long is made of little, and limits
# of HTTP are small where an input says so. Seconds for one: a thousand times what it takes. MiB
# of memory, of which the fuzzer needs 60 itself.
LIMITS = ["-max_len=1024", "-timeout=20", "-report_slow_units=20", "-rss_limit_mb=256"]


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="CPU time for each target")
    parser.add_argument(
        "--keep", action="store_true", help="instead, add what was reached to the corpora"
    )
    parser.add_argument(
        "--reach", action="store_true", help="instead, tell how much of the core was reached"
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}")
    return arguments


def spread(target: str, folder: pathlib.Path) -> None:
    """Write the corpus and the dictionary as libFuzzer reads them."""
    for data in load(target):
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)
    tokens = importlib.import_module(f"tests.fuzz.targets.{target}").TOKENS
    lines = ["".join(f"\\x{byte:02x}" for byte in token) for token in tokens]
    folder.with_name("dictionary").write_text("".join(f'"{line}"\n' for line in lines))


def search(target: str, seconds: float) -> bool:
    """Fuzz a target; return whether all was well."""
    folder = BUILD / target / "reached"
    folder.mkdir(parents=True, exist_ok=True)
    spread(target, folder)
    before = set(folder.parent.iterdir())
    options = [f"-dict={folder.parent}/dictionary", f"-artifact_prefix={folder.parent}/"]
    command = [sys.executable, "-m", "tests.fuzz.search", target, str(seconds), *LIMITS, *options]
    status = subprocess.run([*command, "-print_final_stats=1", str(folder)]).returncode
    for path in set(folder.parent.iterdir()) - before:
        print(f"{path.name}: add this to tests/fuzz/corpus/{target}.txt\n{path.read_bytes()!r}")
    return not status


def main() -> None:
    """Fuzz, and fail if something was found."""
    arguments = parse_arguments()
    targets = arguments.targets or TARGETS
    if arguments.keep:
        for target in targets:
            print(f"{target}: {keep(target, BUILD / target / 'reached')} more")
        return
    if arguments.reach:
        for target in targets:
            total, taken = reach(target, BUILD / target / "reached")
            print(f"{target}: {taken} of {total} branches, {taken / total:.0%}")
        return
    failed = [target for target in targets if not search(target, arguments.seconds)]
    if failed:
        sys.exit(f"something was found, or it was interrupted: {', '.join(failed)}")


if __name__ == "__main__":
    main()
