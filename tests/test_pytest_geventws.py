"""The plugin for pytest, in a run of its own."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

USES = """
def echo(ws):
    for message in ws:
        ws.send(message)

def test_server(ws_server):
    server = ws_server(echo, max_size=10)
    with server.connect("/path") as ws:
        ws.send("Hello!")
        assert ws.recv(timeout=10) == "Hello!"

def test_pair(ws_pair):
    client, server = ws_pair
    client.send("Hello!")
    assert server.recv(timeout=10) == "Hello!"
"""

USES_NOTHING = """
import sys

def test_gevent_is_not_imported():
    assert "pytest_geventws" in sys.modules
    assert "gevent" not in sys.modules and "geventws" not in sys.modules
"""


def run(path: pathlib.Path, program: str) -> str:
    (path / "test_it.py").write_text(program)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "pytest_geventws", "test_it.py"]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        command, cwd=path, env=environment, capture_output=True, text=True, timeout=30
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def test_fixtures(tmp_path: pathlib.Path) -> None:
    assert "2 passed" in run(tmp_path, USES)


def test_gevent_is_imported_by_use_only(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Coverage, which measures this run, would import gevent there.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    assert "1 passed" in run(tmp_path, USES_NOTHING)


def test_pytest_finds_it() -> None:
    found = importlib.metadata.entry_points(group="pytest11", name="geventws")
    assert [entry.value for entry in found] == ["pytest_geventws"]
