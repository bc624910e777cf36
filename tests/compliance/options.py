"""What both ends are examined with."""

from __future__ import annotations

from typing import Any

__all__ = ["OPTIONS"]

# Section 9 has messages of 16 MiB, and of 65,536 fragments, and the suite has to think about
# them for longer than others may take to answer.
OPTIONS: dict[str, Any] = {
    "max_size": None,
    "max_fragments": None,
    "open_timeout": 60,
    "ping_interval": None,
}
