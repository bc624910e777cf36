"""Tests of geventws.build: which build runs."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import geventws.core
from geventws.build import SourceFinder

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_finder_takes_the_source() -> None:
    spec = SourceFinder.find_spec("geventws.core.codec", geventws.core.__path__)
    assert spec is not None and spec.origin is not None
    assert spec.origin.endswith("codec.py")


def test_finder_leaves_the_rest_to_others() -> None:
    assert SourceFinder.find_spec("geventws.core.nothing", geventws.core.__path__) is None
    assert SourceFinder.find_spec("json.decoder", geventws.core.__path__) is None
    assert SourceFinder.find_spec("geventws.core.codec") is None


def test_plain_python_on_request() -> None:
    """Whatever was compiled."""
    code = "import geventws, geventws.build as b; print(b.build_name())"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "GEVENTWS_PURE_PYTHON": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert result.stdout == "plain Python\n"
