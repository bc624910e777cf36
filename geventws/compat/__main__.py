"""Runs a program that was written for gevent-websocket: ``python -m geventws.compat app.py``."""

from __future__ import annotations

import pathlib
import runpy
import sys

from geventws.compat import install

__all__ = ["main"]

USAGE = "usage: python -m geventws.compat program.py [arguments]"


def main(arguments: list[str]) -> None:
    """Run a program, as ``python program.py`` would, after `install`.

    Args:
        arguments: the program's path and its own arguments.
    """
    if not arguments or arguments[0].startswith("-"):
        raise SystemExit(USAGE)
    install()
    sys.argv[:] = arguments
    # Where Python looks first: in the program's own folder.
    sys.path.insert(0, str(pathlib.Path(arguments[0]).resolve().parent))
    runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
