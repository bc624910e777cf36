"""What gevent has patched, and what it was too late for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

from gevent import monkey

from geventws.cli.report import Report

__all__ = ["examine_patching", "late_names"]

# What has to be patched together: one half would wait for the other without letting it run.
TOGETHER = ("socket", "ssl", "select", "threading", "time")

MIXED = """Half of a patched program waits in gevent and half of it natively, which stops all
greenlets. Patch everything, as the first thing the program does: from gevent import monkey;
monkey.patch_all(). Or patch nothing: geventws does not need it."""

LATE = """These modules keep what was there before, which stops all greenlets while it waits; with
ssl there are RecursionErrors. Patch before anything else is imported, in the first line of the
program: from gevent import monkey; monkey.patch_all(). With gunicorn, -k gevent does it, unless
--preload or the configuration file imports the application first."""

# Names to show; there may be hundreds.
SHOWN = 4


def examine_patching(report: Report) -> None:
    """Tell what is patched, and whether it is all of it and was in time."""
    patched = [name for name in TOGETHER if monkey.is_module_patched(name)]
    if not patched:
        report.fact("patching", "nothing is patched, and geventws needs nothing to be")
        return
    missing = [name for name in TOGETHER if name not in patched]
    if missing:
        text = f"{', '.join(patched)} patched, {', '.join(missing)} not"
        report.problem("patching", text, MIXED)
    else:
        report.fact("patching", f"{', '.join(patched)} and more are patched")
    late = sorted(late_names())
    if late:
        more = f" and {len(late) - SHOWN} more" if len(late) > SHOWN else ""
        text = f"too late for {', '.join(late[:SHOWN])}{more}"
        report.problem("patching", text, LATE)


def late_names() -> Iterator[str]:
    """Yield what took something from a module before gevent patched it there.

    That is ``module.name`` for names imported directly. The standard library keeps originals
    on purpose, and so do gevent and geventws.
    """
    originals = {
        id(original): original
        for module, names in monkey.saved.items()  # type: ignore[attr-defined]
        for name, original in names.items()
        if callable(original) and getattr(sys.modules.get(module), name, original) is not original
    }
    for module_name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and not _keeps_originals(module_name):
            for name, value in list(vars(module).items()):
                if originals.get(id(value), module) is value:
                    yield f"{module_name}.{name}"


def _keeps_originals(module_name: str) -> bool:
    package = module_name.partition(".")[0]
    return package in sys.stdlib_module_names or package in ("gevent", "geventws", "greenlet")
