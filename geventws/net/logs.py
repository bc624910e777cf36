"""Logging: lines of the journal become records that carry their connection."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

from gevent import get_hub

from geventws.core.journal import Line

LoggerLike = logging.Logger | logging.LoggerAdapter[Any]

__all__ = ["ConnectionLogger", "LoggerLike", "emit", "log_safely"]


class ConnectionLogger(logging.LoggerAdapter[Any]):
    """A logger whose records have an attribute ``websocket``, the connection.

    Args:
        logger: the logger, or adapter, that gets the records.
        websocket: the connection.
    """

    def __init__(self, logger: LoggerLike, websocket: object) -> None:
        super().__init__(logger, {"websocket": websocket})

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the connection to ``extra``, in a new dict: adapters may add to it, too."""
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


def log_safely(logger: LoggerLike, line: Line) -> None:
    """Write a line to the log; an error in the user's logging must not end a connection."""
    try:
        if logger.isEnabledFor(line.level):
            logger.log(line.level, line.message, *line.args, exc_info=line.exc)
    except Exception:
        get_hub().handle_error(logger, *sys.exc_info())


def emit(logger: LoggerLike, websocket: object, line: Line) -> None:
    """Write a line to the log for a connection."""
    log_safely(ConnectionLogger(logger, websocket), line)
