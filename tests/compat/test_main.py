"""``python -m geventws.compat``: programs for gevent-websocket by a command line."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from geventws.compat.__main__ import main
from tests.wsgi.support import ROOT


def run(*arguments: str, cwd: pathlib.Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "geventws.compat", *arguments]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=30, env=environ, cwd=cwd, check=False
    )


def test_program_runs_as_if_by_itself(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "beside.py").write_text("import geventwebsocket\n")
    (folder / "program.py").write_text(
        "import sys, beside\nprint(__name__, sys.argv, beside.geventwebsocket.__name__)\n"
    )
    result = run("folder/program.py", "--option", cwd=tmp_path)
    expected = "__main__ ['folder/program.py', '--option'] geventws.compat.geventwebsocket\n"
    assert (result.returncode, result.stdout) == (0, expected), result.stderr


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="usage: python -m geventws.compat"):
        main(arguments)
