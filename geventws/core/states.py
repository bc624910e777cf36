"""Which end a connection is, and where it is in its life (RFC 6455, sections 4.1 and 7.1)."""

from __future__ import annotations

import enum

__all__ = ["Side", "State"]


class Side(enum.IntEnum):
    """Which end of the connection this is."""

    SERVER, CLIENT = range(2)


class State(enum.IntEnum):
    """Where the connection is in its life.

    ``CONNECTING`` until the opening handshake succeeds, ``OPEN`` while messages may be sent,
    ``CLOSING`` from the first close frame sent on, ``CLOSED`` once TCP is closed.
    """

    CONNECTING, OPEN, CLOSING, CLOSED = range(4)
