"""Both builds in one process: what runs, and plain Python beside it."""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import PathFinder
from types import SimpleNamespace
from typing import Any

import geventws.core
from geventws.build import SourceFinder

__all__ = ["BUILDS"]

# The modules of the ground floor that are compiled where that is possible, each before those
# that import it. All others are the same in both builds, and so are their classes.
NAMES = ["masking", "payload", "journal", "codec", "messages", "output", "protocol"]


def load() -> SimpleNamespace:
    """Import the modules, by the finders there are now."""
    modules = {name: importlib.import_module(f"geventws.core.{name}") for name in NAMES}
    return SimpleNamespace(**modules)


def load_plain() -> Any:
    """Import the modules again, as plain Python."""
    load()
    compiled = {name: sys.modules.pop(f"geventws.core.{name}") for name in NAMES}
    # Behind a finder that wants to change what is imported, such as the fuzzer's.
    sys.meta_path.insert(sys.meta_path.index(PathFinder), SourceFinder)
    try:
        return load()
    finally:
        sys.meta_path.remove(SourceFinder)
        for name, module in compiled.items():
            sys.modules[f"geventws.core.{name}"] = module
            setattr(geventws.core, name, module)


# Plain Python first, and what was compiled, if it was.
BUILDS = (load_plain(), load())
