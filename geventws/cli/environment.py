"""What this process is made of: versions, the loop, extras."""

from __future__ import annotations

import os
import platform
import re
import ssl
import sys
from importlib import metadata
from typing import Any

import gevent
import greenlet

from geventws.build import build_name
from geventws.cli.report import Report
from geventws.version import version

__all__ = ["examine_environment"]

# Extras for those who develop geventws.
INTERNAL = {"test", "docs", "bench"}

REQUIREMENT = re.compile(r"""([\w.-]+).*;\s*extra\s*==\s*["']([\w-]+)["']""")


def examine_environment(report: Report) -> None:
    """Tell what geventws runs on."""
    report.fact("geventws", f"{version} ({_build()})")
    implementation, release = platform.python_implementation(), platform.python_version()
    report.fact("Python", f"{implementation} {release}, {sys.executable}")
    report.fact("gevent", f"{gevent.__version__}, {_loop()}")
    report.fact("greenlet", greenlet.__version__)
    report.fact("OpenSSL", ssl.OPENSSL_VERSION)
    report.fact("extras", _extras())


def _build() -> str:
    name = build_name()
    if name != "compiled" and os.environ.get("GEVENTWS_PURE_PYTHON") == "1":
        return f"{name}, as GEVENTWS_PURE_PYTHON=1 asks for"
    return name


def _loop() -> str:
    hub = gevent.get_hub()
    loop: Any = hub.loop
    library = "libuv" if "libuv" in type(loop).__module__ else "libev"
    resolver = type(hub.resolver).__module__.rpartition(".")[2]
    return f"loop {library} ({getattr(loop, 'backend', 'default')}), DNS by {resolver}"


def _extras() -> str:
    """Return what of the optional dependencies is installed."""
    try:
        requirements = metadata.requires("geventws") or []
    except metadata.PackageNotFoundError:
        return "unknown: geventws runs from a folder, and was not installed by pip"
    extras: dict[str, list[str]] = {}
    for requirement in requirements:
        if (match := REQUIREMENT.match(requirement)) and match[2] not in INTERNAL:
            extras.setdefault(match[2], []).append(_installed(match[1]))
    return "; ".join(f"{extra}: {', '.join(found)}" for extra, found in sorted(extras.items()))


def _installed(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"no {package}"
