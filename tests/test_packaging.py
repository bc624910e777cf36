"""What is installed is what setup.cfg says and what this run asked for."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import pathlib
import re
import subprocess
import sys

import gevent
import gevent.monkey
import pytest

import geventws
from geventws.__main__ import main
from geventws.build import build_name
from geventws.version import version


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


def modules_with_types() -> list[str]:
    """The names of the modules that are compiled where that is possible."""
    folder = pathlib.Path(geventws.__file__).parent
    paths = [path.relative_to(folder.parent) for path in folder.rglob("*.p[xy][dx]")]
    return sorted({".".join(path.with_suffix("").parts) for path in paths})


def test_the_build_that_the_run_asked_for_runs() -> None:
    """The Makefile says in GEVENTWS_EXPECT which build it made: "compiled" or "pure"."""
    here = "compiled" if build_name() == "compiled" else "pure"
    expected = os.environ.get("GEVENTWS_EXPECT", here)
    files = {name: str(importlib.import_module(name).__file__) for name in modules_with_types()}
    assert len(files) > 10
    wrong = [name for name in files if files[name].endswith(".py") is (expected == "compiled")]
    assert not wrong, f"not {expected}: {wrong}"
    assert here == expected


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


def test_run_has_the_settings_it_was_asked_for() -> None:
    """A run of the matrix that silently ran like another one would prove nothing."""
    patched = os.environ.get("GEVENTWS_TEST_PATCH") == "1"
    assert gevent.monkey.is_module_patched("socket") is patched
    debug = os.environ.get("GEVENTWS_TEST_DEBUG") == "1"
    assert logging.getLogger("geventws").isEnabledFor(logging.DEBUG) is debug
    loop = os.environ.get("GEVENT_LOOP", "libev")
    assert loop.removesuffix("-cffi") in type(gevent.get_hub().loop).__module__
