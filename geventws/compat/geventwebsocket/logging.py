"""Loggers of gevent-websocket."""

from __future__ import annotations

import logging

__all__ = ["create_logger"]


class DebugHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Prints a logger's records to standard error."""


def create_logger(name: str, debug: bool = False, format: str | None = None) -> logging.Logger:
    """Return a logger.

    Its handlers are left alone, unlike in gevent-websocket, which removed them.

    Args:
        name: of the logger.
        debug: whether everything shall be printed to standard error.
        format: how to print it, as for `logging.Formatter`.
    """
    logger = logging.getLogger(name)
    if debug:
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.DEBUG)
        if not any(isinstance(handler, DebugHandler) for handler in logger.handlers):
            handler = DebugHandler()
            handler.setFormatter(logging.Formatter(format))
            logger.addHandler(handler)
    return logger
