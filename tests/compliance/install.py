"""Install Autobahn|Testsuite: ``python -m tests.compliance.install FOLDER``.

It needs CPython 2.7.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator

REQUIREMENTS = pathlib.Path(__file__).with_name("requirements.txt")

# The last release that makes environments of Python 2.7; the last versions for those.
VIRTUALENV = "virtualenv==20.21.1"
SEEDS = ["--pip", "20.3.4", "--setuptools", "44.0.0", "--wheel", "0.36.2"]

MISSING = """\
Autobahn|Testsuite needs CPython 2.7 with its headers, which was not found: neither as PYTHON27
says, nor python2.7 on PATH, nor under pyenv. On Debian 11 or Ubuntu 22.04 and older, apt-get
install python2.7-dev; elsewhere, pyenv install 2.7.18. Where Docker runs, its image serves, too:
    make compliance WSTEST="docker run --rm --network host --volume $PWD:$PWD --workdir $PWD
    crossbario/autobahn-testsuite wstest"
"""


def candidates() -> Iterator[str]:
    """Where CPython 2.7 may be."""
    yield os.environ.get("PYTHON27", "")
    yield shutil.which("python2.7") or ""
    root = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"))
    yield from map(str, sorted(root.glob("versions/2.7*/bin/python2.7"), reverse=True))


def is_python27(path: str) -> bool:
    """Tell whether this is one: a shim of pyenv may lead nowhere."""
    check = "import sys; sys.exit(sys.version_info[:2] != (2, 7))"
    return bool(path) and subprocess.run([path, "-c", check], capture_output=True).returncode == 0


def find_python27() -> str | None:
    """Return a CPython 2.7, or None."""
    return next(filter(is_python27, candidates()), None)


def install(folder: pathlib.Path) -> None:
    """Make an environment of Python 2.7 in which ``bin/wstest`` is.

    Raises:
        SystemExit: there is no Python 2.7.
        subprocess.CalledProcessError: something cannot be installed.
    """
    python = find_python27()
    if python is None:
        sys.exit(MISSING)
    shutil.rmtree(folder, ignore_errors=True)
    quiet = ["-qq", "--disable-pip-version-check", "install"]
    tool = folder / "virtualenv"
    subprocess.run([sys.executable, "-m", "venv", tool], check=True)
    subprocess.run([tool / "bin/pip", *quiet, VIRTUALENV], check=True)
    subprocess.run([tool / "bin/virtualenv", "-q", "-p", python, *SEEDS, folder], check=True)
    # Without isolation, so that setuptools is the one that still knows Python 2.7.
    pip = [folder / "bin/pip", *quiet, "--no-build-isolation", "-r", REQUIREMENTS]
    subprocess.run(pip, check=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--find"]:
        sys.exit(find_python27() is None)
    install(pathlib.Path(sys.argv[1]))
