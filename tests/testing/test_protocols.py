"""Protocols back to back."""

from __future__ import annotations

import pytest

from geventws.core.deflate import PerMessageDeflate
from geventws.core.frames import Frame, Opcode
from geventws.core.states import Side, State
from geventws.testing import exchange, protocol_pair

TEXT, BINARY = Opcode.TEXT, Opcode.BINARY
PING, PONG = Opcode.PING, Opcode.PONG


def test_a_pair_is_open() -> None:
    client, server = protocol_pair(max_size=10)
    assert (client.side, server.side) == (Side.CLIENT, Side.SERVER)
    for protocol in (client, server):
        assert protocol.state is State.OPEN
        assert protocol.decoder.max_size == 10


@pytest.mark.parametrize("chunk", [None, 1, 2, 1000])
def test_a_pair_talks(chunk: int | None) -> None:
    client, server = protocol_pair()
    assert exchange(client, server, chunk) == []
    client.send_data(TEXT, b"Hello")
    client.send_ping(b"beat")
    assert exchange(client, server, chunk) == ["Hello", Frame(PING, b"beat")]
    assert exchange(server, client, chunk) == [Frame(PONG, b"beat")]


def test_a_pair_has_extensions() -> None:
    client, server = protocol_pair(
        [PerMessageDeflate(False, False, 12, 12)], (PerMessageDeflate(False, False, 12, 12),)
    )
    client.send_data(BINARY, bytes(1000))
    assert len(client.output[0]) < 100
    assert exchange(client, server) == [bytes(1000)]


def test_the_end_of_the_stream_is_carried_too() -> None:
    client, server = protocol_pair()
    server.send_data(TEXT, b"last")
    server.send_eof()
    assert exchange(server, client) == ["last"]
    assert client.decoder.discarding
