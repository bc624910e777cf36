"""Tests of geventws.cli.patching: programs that patch in all ways there are, as processes."""

from __future__ import annotations

import pathlib

import pytest

from tests.cli.support import run

PATCH = "from gevent import monkey\nmonkey.patch_all()\n"


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("import gevent\n", ["nothing is patched"]),
        (PATCH + "import other\n", ["socket, ssl, select, threading, time and more are patched"]),
        (
            "import other\n" + PATCH,
            ["FAILED: too late for other.", "other.Context", "other.connect", "monkey.patch_all()"],
        ),
        (
            "from gevent import monkey\nmonkey.patch_socket()\n",
            ["FAILED: socket patched, ssl, select, threading, time not", "Or patch nothing"],
        ),
        (
            "from gevent import monkey\nmonkey.patch_all(thread=False)\n",
            ["FAILED: socket, ssl, select, time patched, threading not"],
        ),
    ],
)
def test_program(program: str, found: list[str], tmp_path: pathlib.Path) -> None:
    other = "from ssl import SSLContext as Context\nfrom socket import create_connection as connect"
    (tmp_path / "other.py").write_text(other)
    (tmp_path / "program.py").write_text(program)
    wrong = any(text.startswith("FAILED") for text in found)
    output, errors = run("doctor", "--import", "program:app", cwd=tmp_path, code=int(wrong))
    assert errors == ""
    # As it was before it was wrapped.
    output = " ".join(output.split())
    assert all(text in output for text in found), output
    assert ("FAILED" in output) is wrong
