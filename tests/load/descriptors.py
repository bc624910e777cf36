"""How many descriptors a process may have."""

from __future__ import annotations

import resource


def allow_descriptors(count: int | None = None) -> None:
    """Let this process have so many descriptors; None for as many as the system allows."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (count or most, most))
