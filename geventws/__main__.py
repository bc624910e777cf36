"""``python -m geventws --version`` prints the version and which build runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from geventws.build import build_name
from geventws.version import version


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line asks for; without ``arguments``, this process's own."""
    parser = argparse.ArgumentParser(
        prog="python -m geventws", description="WebSockets for gevent."
    )
    shown = f"geventws {version} ({build_name()})"
    parser.add_argument("--version", action="version", version=shown)
    parser.parse_args(arguments)
    parser.print_help()


if __name__ == "__main__":
    main()
