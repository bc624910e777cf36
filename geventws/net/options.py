"""The options of connections that clients and servers share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from geventws.core.messages import MAX_FRAGMENTS
from geventws.core.protocol import MAX_SIZE, Protocol
from geventws.core.states import Side
from geventws.net.hubs import HubState
from geventws.net.inbox import Inbox
from geventws.net.logs import LoggerLike
from geventws.net.transport import Transport

__all__ = ["ConnectionOptions", "check_compression"]

# Frames that may wait to be read: enough for bursts, while 16 times `max_size` bounds the
# memory of a connection.
MAX_QUEUE = 16

# Bytes that may wait to be written, high and low: the size of usual socket buffers.
WRITE_LIMIT = (65536, 16384)

Water = int | None | tuple[int | None, int | None]


def check_compression(compression: str | None) -> bool:
    """Return whether messages are to be compressed.

    Raises:
        ValueError: it is neither "deflate" nor None.
    """
    if compression not in ("deflate", None):
        raise ValueError(f"unsupported compression: {compression}; use 'deflate' or None")
    return compression is not None


def _water(name: str, value: Water) -> tuple[int | None, int]:
    """Return high and low water marks; where only the high one is given, low is a quarter."""
    high, low = value if isinstance(value, tuple) else (value, None)
    if low is None:
        low = 0 if high is None else high // 4
    if low < 0:
        raise ValueError(f"{name}: low must be positive or equal to zero")
    if high is not None and high < low:
        raise ValueError(f"{name}: high must be greater than or equal to low")
    return high, low


@dataclass(frozen=True)
class ConnectionOptions:
    """The options of connections; see `geventws.connect` and `geventws.serve`."""

    ping_interval: float | None = 20
    ping_timeout: float | None = 20
    close_timeout: float | None = 10
    max_size: int | None | tuple[int | None, int | None] = MAX_SIZE
    max_fragments: int | None = MAX_FRAGMENTS
    max_queue: Water = MAX_QUEUE
    write_limit: int | tuple[int, int] = WRITE_LIMIT

    def __post_init__(self) -> None:
        # Errors now, not when the first client connects.
        _water("max_queue", self.max_queue)
        if _water("write_limit", self.write_limit)[0] is None:
            raise ValueError("write_limit: high must be a number of bytes")

    def make(
        self,
        create_connection: Callable[..., Any],
        transport: Transport,
        side: Side,
        state: HubState,
        logger: LoggerLike,
    ) -> Any:
        """Make a connection with these options."""
        protocol = Protocol(
            side,
            max_size=self.max_size,
            max_fragments=self.max_fragments,
            debug=logger.isEnabledFor(logging.DEBUG),
        )
        high, low = _water("write_limit", self.write_limit)
        assert high is not None
        connection = create_connection(
            transport,
            protocol,
            state,
            inbox=Inbox(*_water("max_queue", self.max_queue)),
            ping_interval=self.ping_interval,
            ping_timeout=self.ping_timeout,
            close_timeout=self.close_timeout,
            write_limit=(high, low),
            logger=logger,
        )
        state.streams.add(connection)
        return connection
