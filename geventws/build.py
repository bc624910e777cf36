"""Which build runs: the compiled modules where they are, or plain Python.

With ``GEVENTWS_PURE_PYTHON=1`` in the environment plain Python runs, whatever was compiled.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from types import ModuleType

__all__ = ["SourceFinder", "build_name"]


class SourceFinder:
    """Finds the ``.py`` files of geventws, though compiled modules lie beside them."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module; see `importlib.abc.MetaPathFinder`."""
        if not name.startswith("geventws.") or path is None:
            return None
        for folder in path:
            finder = FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES))
            if (spec := finder.find_spec(name)) is not None:
                return spec
        return None


def build_name() -> str:
    """Return "compiled" or "plain Python"."""
    codec = sys.modules.get("geventws.core.codec")
    return "plain Python" if str(getattr(codec, "__file__", ".py")).endswith(".py") else "compiled"


if os.environ.get("GEVENTWS_PURE_PYTHON") == "1":
    # Before any module is imported that was compiled: `geventws` itself imports this first.
    sys.meta_path.insert(0, SourceFinder)
