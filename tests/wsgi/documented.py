"""The applications that the documentation shows, all in one: ``/Django/echo/blue``."""

from __future__ import annotations

import functools
import sys
import types
from typing import Any
from wsgiref.util import shift_path_info

from tests.test_docs import ROOT, programs

HOWTO = ROOT / "docs" / "howto"

# The frameworks, in the order of their page.
FRAMEWORKS = ["Django", "Bottle", "Falcon", "Pyramid"]


def run(name: str, program: str) -> types.ModuleType:
    """Run a program as a module that can be imported."""
    module = sys.modules[name] = types.ModuleType(name)
    exec(program, module.__dict__)
    return module


@functools.cache
def application(name: str) -> Any:
    """The application of a framework."""
    if name == "Flask":
        return run("documented_flask", programs(HOWTO / "flask.rst")[0]).app
    program = programs(HOWTO / "frameworks.rst")[FRAMEWORKS.index(name)]
    return run(f"documented_{name.lower()}", program).app


def applications(environ: dict[str, Any], start_response: Any) -> Any:
    """One of them, by the first part of the path."""
    return application(shift_path_info(environ) or "")(environ, start_response)
