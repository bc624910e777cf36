"""Clients to compare: each receives text messages until its server closes the connection.

A client prints a line before it connects and one at the end, and then stays until its CPU time
has been read.
"""

from __future__ import annotations

import sys

__all__ = ["done", "uri"]


def uri() -> str:
    """Say that the imports are done; return where to connect."""
    print("ready", flush=True)
    return f"ws://127.0.0.1:{sys.argv[1]}/"


def done() -> None:
    """Say that the connection is closed; wait."""
    print("done", flush=True)
    sys.stdin.readline()
