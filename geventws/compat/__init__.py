"""Drop-ins for older libraries: `install` puts geventws under the names of gevent-websocket."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

__all__ = ["install"]

# The package whose names are taken over, and where what stands in for it lies.
OLD = "geventwebsocket"
NEW = "geventws.compat.geventwebsocket"

# It decides when it is imported which library it uses.
ENGINEIO = "engineio.async_drivers.gevent"


def install(**options: Any) -> None:
    """Let programs that were written for gevent-websocket 0.10.1 run on geventws, unchanged.

    ::

        import geventws.compat

        geventws.compat.install()

        from geventwebsocket.handler import WebSocketHandler

    From now on ``import geventwebsocket``, and the import of each of its modules, gives what
    geventws has in its place, whether gevent-websocket itself is installed or not. Call it
    before anything imports ``geventwebsocket``; again, to change the options.

    Args:
        options: for all WebSockets of `WebSocketHandler`, as for `geventws.wsgi.accept`; for
            instance ``max_size``, the longest message in bytes, 1 MiB unless told otherwise.

    Raises:
        RuntimeError: it is too late: gevent-websocket itself is in use.
        TypeError, ValueError: the options are wrong.
    """
    loaded = sys.modules.get(OLD)
    if loaded is not None and loaded.__name__ != NEW:
        raise RuntimeError(
            f"gevent-websocket was imported already, from {loaded.__file__}: call "
            f"geventws.compat.install() before anything imports {OLD}"
        )
    engineio = sys.modules.get(ENGINEIO)
    if engineio is not None and loaded is None:
        raise RuntimeError(
            "python-engineio was set up without gevent-websocket already: call "
            "geventws.compat.install() before making a SocketIO or a Server object"
        )
    handler = importlib.import_module(f"{NEW}.handler").WebSocketHandler
    handler.configure(options)
    if FINDER not in sys.meta_path:
        # In front of the one that would find gevent-websocket itself.
        sys.meta_path.insert(0, FINDER)


class Alias(importlib.abc.Loader):
    """Makes a module known under an old name, too; it stays one and the same module."""

    def __init__(self, name: str) -> None:
        # The module's own name.
        self.name = name

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Leave it to Python to make a module, which `exec_module` replaces."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Put the module itself in the place of the one that Python made."""
        sys.modules[module.__name__] = importlib.import_module(self.name)


class Finder(importlib.abc.MetaPathFinder):
    """Finds what stands in for the modules of gevent-websocket."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return how to load a module of that name; None if it is not one of ours."""
        if fullname != OLD and not fullname.startswith(f"{OLD}."):
            return None
        name = NEW + fullname.removeprefix(OLD)
        if importlib.util.find_spec(name) is None:
            return None
        return importlib.machinery.ModuleSpec(fullname, Alias(name))


FINDER = Finder()
