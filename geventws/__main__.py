"""``python -m geventws --version`` prints the version."""

from __future__ import annotations

import argparse

from geventws.version import version


def main() -> None:
    """Parse the command line and do what it asks for."""
    parser = argparse.ArgumentParser(prog="python -m geventws")
    parser.add_argument("--version", action="version", version=f"geventws {version}")
    parser.parse_args()
    parser.print_help()


if __name__ == "__main__":
    main()
