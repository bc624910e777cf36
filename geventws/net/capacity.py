"""Capacity: how many connections a server serves, and what becomes of one too many."""

from __future__ import annotations

import contextlib
from collections.abc import Container
from typing import Any

__all__ = ["RETRY_AFTER", "Capacity", "default_limit"]

# Where nothing is said: the share of the process's descriptors that connections may take. The
# rest stays for what their handlers open, which would otherwise fail first.
SHARE = 0.9

# Where the system does not tell how many descriptors there are.
FALLBACK = 10_000

# Clients that are told "no" at the same time; further ones are closed without a word, because
# each of them takes a descriptor, too, until it has sent its request.
MAX_REFUSING = 100

# Seconds after which a refused client may try again: long enough for a crowd not to come back
# at once, short enough for a person to wait.
RETRY_AFTER = 5


def default_limit() -> int:
    """Return how many connections the descriptors of this process are enough for."""
    soft = -1
    with contextlib.suppress(ImportError):
        import resource

        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return FALLBACK if soft < 0 else max(1, int(soft * SHARE))


class Capacity:
    """Decides which connections a server accepts, refuses, or closes at once.

    Args:
        max_connections: how many it serves; None is what `default_limit` says.

    Raises:
        ValueError: it would serve none.
    """

    def __init__(self, max_connections: int | None) -> None:
        if max_connections is not None and max_connections < 1:
            raise ValueError("max_connections must be at least 1")
        self.limit = default_limit() if max_connections is None else max_connections
        # The greenlets that refuse clients.
        self._refusing: list[Any] = []
        # Whether the log was told that the limit is reached.
        self._told = False

    def admits(self, greenlets: Container[Any], count: int) -> bool:
        """Return whether there is room for another connection.

        Args:
            greenlets: those of all connections, refused ones among them.
            count: how many these are.
        """
        if count < self.limit:
            if self._told and count < self.limit * SHARE:
                self._told = False
            return True
        self._refusing = [greenlet for greenlet in self._refusing if greenlet in greenlets]
        return count - len(self._refusing) < self.limit

    def may_refuse(self) -> bool:
        """Return whether there is room for another client to be refused."""
        return len(self._refusing) < MAX_REFUSING

    def refuses(self, greenlet: Any) -> None:
        """Note the greenlet that refuses a client."""
        self._refusing.append(greenlet)

    def news(self) -> bool:
        """Return whether the limit was reached for the first time since there was room."""
        told, self._told = self._told, True
        return not told
