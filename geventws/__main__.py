"""``python -m geventws --version`` prints the version."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from geventws.version import version


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line asks for; without ``arguments``, this process's own."""
    parser = argparse.ArgumentParser(
        prog="python -m geventws", description="WebSockets for gevent."
    )
    parser.add_argument("--version", action="version", version=f"geventws {version}")
    parser.parse_args(arguments)
    parser.print_help()


if __name__ == "__main__":
    main()
