"""Loggers of gevent-websocket: what is there is left alone."""

from __future__ import annotations

import logging
import uuid

import pytest

from geventws.compat.geventwebsocket.logging import create_logger


def name() -> str:
    """A name that no logger has."""
    return f"test.{uuid.uuid4()}"


def test_without_debug_nothing_is_set() -> None:
    before = logging.getLogger(name())
    handler = logging.NullHandler()
    before.addHandler(handler)
    logger = create_logger(before.name)
    assert logger is before and type(logger) is logging.Logger
    assert (logger.handlers, logger.level) == ([handler], logging.NOTSET)


def test_debug_prints(capsys: pytest.CaptureFixture[str]) -> None:
    logger = create_logger(name(), debug=True, format="seen: %(message)s")
    assert create_logger(logger.name, debug=True) is logger
    logger.debug("once")
    assert capsys.readouterr().err == "seen: once\n"


def test_debug_keeps_the_level_that_was_set() -> None:
    logger = logging.getLogger(name())
    logger.setLevel(logging.ERROR)
    assert create_logger(logger.name, debug=True).level == logging.ERROR
