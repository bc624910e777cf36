"""Tests of ``geventws doctor`` as a process; `test_probe` has the connections that fail."""

from __future__ import annotations

import pathlib

import pytest

from geventws.build import build_name
from geventws.cli.main import main
from geventws.version import version
from tests.cli.support import run
from tests.net.support import echo, serving, uri_of


def test_process() -> None:
    with serving(echo) as server:
        uri = uri_of(server)
        output, errors = run("doctor", uri)
    assert errors == ""
    assert output.startswith(f"geventws     {version} ({build_name()}")
    assert f"patching     nothing is patched, and geventws needs nothing to be\n\n{uri}\n" in output
    assert output.endswith("\n\nNothing is wrong.\n")


def test_module_that_cannot_be_imported(tmp_path: pathlib.Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('on purpose')")
    output, _ = run("doctor", "--import", "broken", cwd=tmp_path, code=1)
    assert output.startswith("import       FAILED: RuntimeError: on purpose\n")
    assert output.endswith("\n\n1 problem: see FAILED above.\n")


def test_certificates_that_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--cafile", "missing.pem", "wss://localhost/"]) == 1
    assert "--cafile     FAILED: [Errno 2] No such file" in capsys.readouterr().out
