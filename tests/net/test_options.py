"""Tests of geventws.net.options: what is checked at once, and what connections are made with."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import pytest
from gevent import socket

from geventws import ServerConnection
from geventws.core.states import Side
from geventws.net.hubs import get_hub_state
from geventws.net.options import ConnectionOptions, check_compression
from geventws.net.transport import Transport, own_socket
from tests.net.support import echo, serving


def logger(level: int) -> logging.Logger:
    """A logger that nobody else has."""
    own = logging.Logger("test_options")
    own.setLevel(level)
    return own


def make(options: ConnectionOptions, level: int = logging.INFO) -> ServerConnection:
    """Make a connection, which is over at once, with its TCP."""
    ours, theirs = socket.socketpair()
    theirs.close()
    state = get_hub_state()
    transport = Transport(own_socket(ours))
    ws: ServerConnection = options.make(
        ServerConnection, transport, Side.SERVER, state, logger(level)
    )
    assert ws in state.streams
    ws.close()
    assert ws not in state.streams
    return ws


# Checks.


def test_compression() -> None:
    assert check_compression("deflate") is True
    assert check_compression(None) is False


@pytest.mark.parametrize("compression", ["", "gzip", "Deflate", False])
def test_compression_that_is_not_supported(compression: Any) -> None:
    text = f"unsupported compression: {compression}; use 'deflate' or None"
    with pytest.raises(ValueError) as raised:
        check_compression(compression)
    assert str(raised.value) == text


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_queue": (4, 5)}, "max_queue: high must be greater than or equal to low"),
        ({"max_queue": -4}, "max_queue: low must be positive or equal to zero"),
        ({"max_queue": (4, -1)}, "max_queue: low must be positive or equal to zero"),
        ({"max_queue": (None, -1)}, "max_queue: low must be positive or equal to zero"),
        ({"write_limit": (4, 5)}, "write_limit: high must be greater than or equal to low"),
        ({"write_limit": (4, -1)}, "write_limit: low must be positive or equal to zero"),
        ({"write_limit": -4}, "write_limit: low must be positive or equal to zero"),
        ({"write_limit": None}, "write_limit: high must be a number of bytes"),
        ({"write_limit": (None, 4)}, "write_limit: high must be a number of bytes"),
    ],
)
@pytest.mark.parametrize("ask", [ConnectionOptions, lambda **options: serving(echo, **options)])
def test_bad_water_marks_are_an_error_at_once(
    ask: Callable[..., Any], options: dict[str, Any], text: str
) -> None:
    """Not when the first client connects."""
    with pytest.raises(ValueError) as raised:
        ask(**options)
    assert str(raised.value) == text


def test_they_do_not_change() -> None:
    """All connections of a server share them."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        ConnectionOptions().max_size = None  # type: ignore[misc]


# What connections get.


@pytest.mark.parametrize(
    ("max_queue", "water"),
    [
        (16, (16, 4)),
        (3, (3, 0)),
        (0, (0, 0)),
        ((10, 7), (10, 7)),
        ((10, None), (10, 2)),
        ((10, 10), (10, 10)),
        (None, (None, 0)),
        ((None, 5), (None, 5)),
        ((None, None), (None, 0)),
    ],
)
def test_water_marks_of_the_inbox(max_queue: Any, water: tuple[int | None, int]) -> None:
    """Where only the high one is given, the low one is a quarter of it."""
    inbox = make(ConnectionOptions(max_queue=max_queue))._inbox
    high, low = water
    if high is None:
        # No number of messages is that large.
        assert inbox.high > 2**31
    else:
        # An inbox has room for one at least.
        assert inbox.high == max(high, 1)
    assert inbox.low == low


@pytest.mark.parametrize(
    ("write_limit", "water"),
    [(1000, (1000, 250)), (0, (0, 0)), ((1000, 999), (1000, 999)), ((1000, 0), (1000, 0))],
)
def test_water_marks_of_writing(write_limit: Any, water: tuple[int, int]) -> None:
    ws = make(ConnectionOptions(write_limit=write_limit))
    assert (ws._high, ws._low) == water


def test_all_options_arrive() -> None:
    options = ConnectionOptions(
        ping_interval=1,
        ping_timeout=2,
        close_timeout=3,
        max_size=(400, 50),
        max_fragments=6,
        max_queue=(7, 3),
        write_limit=(8, 4),
    )
    made: dict[str, Any] = {}

    class Connection:
        def __init__(self, transport: Any, protocol: Any, state: Any, **kwargs: Any) -> None:
            made.update(transport=transport, protocol=protocol, state=state, **kwargs)

    state, transport, own = get_hub_state(), Transport(socket.socket()), logger(logging.INFO)
    connection = options.make(Connection, transport, Side.CLIENT, state, own)
    transport.sock.close()
    assert type(connection) is Connection and connection in state.streams
    state.streams.discard(connection)
    inbox, protocol = made.pop("inbox"), made.pop("protocol")
    assert (inbox.high, inbox.low) == (7, 3)
    assert protocol.side is Side.CLIENT
    assert (protocol.decoder.max_size, protocol.decoder.max_fragment_size) == (400, 50)
    assert protocol.max_fragments == 6
    assert made == {
        "transport": transport,
        "state": state,
        "ping_interval": 1,
        "ping_timeout": 2,
        "close_timeout": 3,
        "write_limit": (8, 4),
        "logger": own,
    }


@pytest.mark.parametrize(("level", "debug"), [(logging.DEBUG, True), (logging.INFO, False)])
def test_journal_keeps_lines_that_the_logger_wants(level: int, debug: bool) -> None:
    ws = make(ConnectionOptions(), level)
    assert (ws._debug, ws._protocol.journal.debug) == (debug, debug)
