"""The applications that the documentation shows, by name: ``tests.wsgi.documented:Django``."""

from __future__ import annotations

import sys
import types
from typing import Any

from tests.test_docs import ROOT, programs

HOWTO = ROOT / "docs" / "howto"

# The frameworks, in the order of their page.
FRAMEWORKS = ["Django", "Bottle", "Falcon", "Pyramid"]


def run(name: str, program: str) -> types.ModuleType:
    """Run a program as a module that can be imported."""
    module = sys.modules[name] = types.ModuleType(name)
    exec(program, module.__dict__)
    return module


def __getattr__(name: str) -> Any:
    if name == "Flask":
        return run("documented_flask", programs(HOWTO / "flask.rst")[0]).app
    if name not in FRAMEWORKS:
        raise AttributeError(name)
    program = programs(HOWTO / "frameworks.rst")[FRAMEWORKS.index(name)]
    return run(f"documented_{name.lower()}", program).app
