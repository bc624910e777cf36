"""Tests of geventws.net.options."""

from __future__ import annotations

import logging
import socket
from typing import Any

import pytest

from geventws.core.states import Side
from geventws.net.client import ClientConnection
from geventws.net.hubs import get_hub_state
from geventws.net.inbox import Inbox
from geventws.net.options import ConnectionOptions, check_compression
from geventws.net.transport import PlainTransport, own_socket


def make(**options: Any) -> ClientConnection:
    sock, other = socket.socketpair()
    other.close()
    ws: ClientConnection = ConnectionOptions(**options).make(
        ClientConnection,
        PlainTransport(own_socket(sock)),
        Side.CLIENT,
        get_hub_state(),
        logging.getLogger("geventws.client"),
    )
    ws._lost()
    return ws


def test_defaults() -> None:
    assert ConnectionOptions() == ConnectionOptions(
        ping_interval=20,
        ping_timeout=20,
        close_timeout=10,
        max_size=2**20,
        max_fragments=4096,
        max_queue=16,
        write_limit=(65536, 16384),
    )


@pytest.mark.parametrize(
    "max_queue, high, low",
    [
        (16, 16, 4),
        (1, 1, 0),
        (5, 5, 1),
        ((8, 8), 8, 8),
        ((8, 0), 8, 0),
        ((8, None), 8, 2),
        (None, Inbox(None, 0).high, 0),
        ((None, 3), Inbox(None, 0).high, 3),
    ],
)
def test_max_queue(max_queue: Any, high: int, low: int) -> None:
    inbox = make(max_queue=max_queue)._inbox
    assert (inbox.high, inbox.low) == (high, low)


@pytest.mark.parametrize(
    "write_limit, high, low", [(65536, 65536, 16384), ((9, 3), 9, 3), (0, 0, 0), ((4, 4), 4, 4)]
)
def test_write_limit(write_limit: Any, high: int, low: int) -> None:
    ws = make(write_limit=write_limit)
    assert (ws._high, ws._low) == (high, low)


@pytest.mark.parametrize("name", ["max_queue", "write_limit"])
@pytest.mark.parametrize(
    "value, message",
    [
        ((4, -1), "low must be positive or equal to zero"),
        ((4, 5), "high must be greater than or equal to low"),
        (-1, "low must be positive or equal to zero"),
    ],
)
def test_limits_that_contradict_themselves_are_refused_at_once(
    name: str, value: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as info:
        ConnectionOptions(**{name: value})
    assert str(info.value) == f"{name}: {message}"


def test_write_limit_must_be_a_limit() -> None:
    with pytest.raises(ValueError, match="write_limit: "):
        ConnectionOptions(write_limit=None)  # type: ignore[arg-type]


def test_max_size_and_max_fragments_reach_the_protocol() -> None:
    decoder = make(max_size=(1000, 100), max_fragments=7)._protocol.decoder
    assert (decoder.max_size, decoder.max_fragment_size) == (1000, 100)
    assert make(max_fragments=7)._protocol._assembler.max_fragments == 7
    assert make(max_size=None)._protocol.decoder.max_size is None


@pytest.mark.parametrize("compression, wanted", [("deflate", True), (None, False)])
def test_check_compression(compression: str | None, wanted: bool) -> None:
    assert check_compression(compression) is wanted


def test_check_compression_refuses_others() -> None:
    with pytest.raises(ValueError, match="unsupported compression: gzip; use 'deflate' or None"):
        check_compression("gzip")
