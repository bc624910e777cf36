"""What is installed is what setup.cfg says."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys

import pytest

import geventws
from geventws.__main__ import main
from geventws.build import build_name
from geventws.version import version
from tests.test_modes import modules_with_types


def test_version_is_in_one_place() -> None:
    assert importlib.metadata.version("geventws") == version
    assert geventws.__version__ == version


@pytest.mark.parametrize(
    ("argument", "expected"),
    [("--version", f"geventws {version} ({build_name()})\n"), ("--help", "usage: ")],
)
def test_command_line(argument: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main([argument])
    assert raised.value.code == 0
    assert capsys.readouterr().out.startswith(expected)


def test_package_can_be_run() -> None:
    command = [sys.executable, "-m", "geventws", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert result.stdout == f"geventws {version} ({build_name()})\n"


def test_only_gevent_and_greenlet_are_needed_at_run_time() -> None:
    requirements = importlib.metadata.requires("geventws") or []
    needed = [line for line in requirements if "extra ==" not in line]
    assert sorted(line.split(">")[0].strip() for line in needed) == ["gevent", "greenlet"]


def test_extra_for_gunicorn_brings_what_its_workers_for_gevent_import() -> None:
    requirements = importlib.metadata.requires("geventws") or []
    (line,) = [line for line in requirements if line.endswith('extra == "gunicorn"')]
    assert line.startswith("gunicorn[gevent]")


def test_types_are_shipped() -> None:
    assert pathlib.Path(geventws.__file__).with_name("py.typed").is_file()


def test_setup_compiles_what_has_types() -> None:
    root = pathlib.Path(__file__).parents[1]
    script = (root / "setup.py").read_text()
    paths = re.findall(r'^    "(\w+/\w+)\.pyx?",$', script, re.MULTILINE)
    assert sorted("geventws." + path.replace("/", ".") for path in paths) == modules_with_types()


def test_plain_python_can_be_forced() -> None:
    program = (
        "import sys, geventws, geventws.testing;"
        "files = [m.__file__ for name, m in sys.modules.items() if name.startswith('geventws')];"
        "print({file.rpartition('.')[2] for file in files})"
    )
    environment = {**os.environ, "GEVENTWS_PURE_PYTHON": "1"}
    command = [sys.executable, "-c", program]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=20, check=True, env=environment
    )
    assert result.stdout == "{'py'}\n"


def test_importing_geventws_patches_nothing() -> None:
    """Monkey patching is the application's decision, never ours."""
    program = (
        "import geventws, gevent.monkey, socket, threading;"
        "print(gevent.monkey.saved, socket.socket.__module__, threading.Thread.__module__)"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert result.stdout == "{} socket threading\n"
