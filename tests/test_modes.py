"""This run of the tests is what it was asked to be: otherwise it would prove nothing."""

from __future__ import annotations

import importlib
import logging
import os
import pathlib

import gevent
import gevent.monkey

import geventws
from geventws.build import build_name


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


def test_run_has_the_settings_it_was_asked_for() -> None:
    """A run of the matrix that silently ran like another one would prove nothing."""
    patched = os.environ.get("GEVENTWS_TEST_PATCH") == "1"
    assert gevent.monkey.is_module_patched("socket") is patched
    debug = os.environ.get("GEVENTWS_TEST_DEBUG") == "1"
    assert logging.getLogger("geventws").isEnabledFor(logging.DEBUG) is debug
    loop = os.environ.get("GEVENT_LOOP", "libev")
    assert loop.removesuffix("-cffi") in type(gevent.get_hub().loop).__module__
