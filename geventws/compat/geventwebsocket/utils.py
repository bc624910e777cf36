"""The version of gevent-websocket whose names these are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["VERSION", "get_version"]

VERSION = (0, 10, 1, "final", 0)

_ABBREVIATIONS = {"alpha": "a", "beta": "b", "rc": "c"}


def get_version(version: Sequence[Any] | None = None) -> str:
    """Return a version as a string.

    Args:
        version: three numbers, ``"alpha"``, ``"beta"``, ``"rc"`` or ``"final"``, and a number;
            None stands for `VERSION`.
    """
    *numbers, stage, serial = VERSION if version is None else version
    if numbers[-1] == 0:
        numbers.pop()
    text = ".".join(map(str, numbers))
    return text if stage == "final" else f"{text}{_ABBREVIATIONS[stage]}{serial}"
