"""What is released works: sdist and wheels, on each Python, with the oldest and newest gevent.

``make release-check`` runs this after ``make dist``. Each combination gets a virtual environment,
the package from ``dist/``, and the tests from this checkout, without its ``geventws`` folder:

- newest: the sdist, compiled on the spot, with the newest gevent;
- oldest: the same sdist where no compiler works, so plain Python, with the oldest gevent;
- wheel: the compiled wheel, on the Python that made it.

Tests that run browsers, nginx, or every WSGI server in every build are `make test`'s business;
``--tests`` chooses others than the ones below.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"

PYTHONS = ["3.11", "3.12", "3.13"]
KINDS = ["newest", "oldest"]

TESTS = [
    *("tests/core", "tests/net", "tests/testing", "tests/interop"),
    *("tests/test_pytest_geventws.py", "tests/wsgi/test_mount.py", "tests/wsgi/test_hosts.py"),
]

# What these tests need beside the package.
NEEDED = [
    *("cffi", "pytest>=8.4", "trustme", "flask>=3"),
    *("python-socks>=3.2,<4", "proxy.py", "twisted"),
    *("aiohttp", "picows", "selenium", "simple-websocket", "websocket-client", "websockets>=17"),
]

# Seconds for the tests of one combination.
PATIENCE = 1200


def find_python(version: str) -> str:
    """Return an interpreter of a version: from the path, or pyenv's."""
    found = shutil.which(f"python{version}")
    if found and subprocess.run([found, "--version"], capture_output=True).returncode == 0:
        return found
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"))
    candidates = sorted((pyenv / "versions").glob(f"{version}.*/bin/python"))
    if not candidates:
        sys.exit(f"Python {version} was not found: install it, or leave it out with --pythons")
    return str(candidates[-1])


def oldest() -> list[str]:
    """Return the requirements of setup.cfg, each with the oldest version that it allows."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"].split("\n")
    return [line.replace(" ", "").replace(">=", "==") for line in lines if ">=" in line]


def pip(python: pathlib.Path, *arguments: str, **environ: str) -> None:
    """Install with pip."""
    command = [str(python), "-m", "pip", "install", "--quiet", *arguments]
    subprocess.run(command, check=True, env={**os.environ, **environ})


def install(python: pathlib.Path, kind: str) -> str:
    """Install the package and what its tests need; return which build must run."""
    (sdist,) = DIST.glob("*.tar.gz")
    if kind == "wheel":
        (wheel,) = (path for path in DIST.glob("*.whl") if "none-any" not in path.name)
        pip(python, str(wheel), *NEEDED)
        return "compiled"
    if kind == "newest":
        pip(python, str(sdist), *NEEDED)
        return "compiled"
    pip(python, *oldest(), *NEEDED)
    # A compiler that fails is as good as none.
    pip(python, "--no-binary=geventws", str(sdist), CC="false")
    return "pure"


@contextlib.contextmanager
def checkout() -> Iterator[pathlib.Path]:
    """A copy of this checkout, without the package: what runs is what was installed."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for part in ("tests", "examples", "docs"):
            skipped = shutil.ignore_patterns("__pycache__", "_build")
            shutil.copytree(ROOT / part, folder / part, ignore=skipped)
        for part in ("setup.cfg", "setup.py", "README.md"):
            shutil.copy(ROOT / part, folder)
        yield folder


def check(version: str, kind: str, tests: list[str]) -> str | None:
    """Install and test one combination; return what failed, if anything did."""
    with checkout() as folder:
        subprocess.run([find_python(version), "-m", "venv", folder / "venv"], check=True)
        python = folder / "venv" / "bin" / "python"
        try:
            expected = install(python, kind)
            program = "from geventws.build import build_name; print(build_name())"
            built = subprocess.check_output([python, "-c", program], cwd=folder, text=True).strip()
        except subprocess.CalledProcessError as exc:
            return f"cannot install: {exc}"
        if (built == "compiled") is not (expected == "compiled"):
            return f"the build is {built}, not {expected}"
        environment = {**os.environ, "GEVENTWS_EXPECT": expected, "GEVENTWS_NO_SKIP": "1"}
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
        try:
            result = subprocess.run(command, cwd=folder, env=environment, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            return f"the tests took longer than {PATIENCE} seconds"
        return f"the tests failed: {result.returncode}" if result.returncode else None


def main() -> None:
    """Check the combinations that were asked for, and say how each went."""
    parser = argparse.ArgumentParser(description="Test what was built, on each Python.")
    parser.add_argument("--pythons", nargs="*", default=PYTHONS, metavar="X.Y")
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=[*KINDS, "wheel"])
    parser.add_argument("--tests", nargs="*", default=TESTS)
    args = parser.parse_args()
    failures = 0
    for version in args.pythons:
        for kind in args.kinds:
            started = time.monotonic()
            failure = check(version, kind, args.tests)
            failures += failure is not None
            took = time.monotonic() - started
            print(f"Python {version}, {kind}: {failure or 'ok'} ({took:.0f} s)", flush=True)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
