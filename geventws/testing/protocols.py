"""Two protocols back to back, without a socket or a clock between them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from geventws.core.extensions import Extension
from geventws.core.protocol import Event, Protocol
from geventws.core.states import Side

__all__ = ["exchange", "protocol_pair"]


def protocol_pair(
    client_extensions: Iterable[Extension] = (),
    server_extensions: Iterable[Extension] = (),
    **options: Any,
) -> tuple[Protocol, Protocol]:
    """Return a client's and a server's `Protocol`, both open.

    Args:
        client_extensions: the client's negotiated extensions.
        server_extensions: the server's negotiated extensions.
        options: for both protocols, such as ``max_size``.
    """
    client = Protocol(Side.CLIENT, **options)
    server = Protocol(Side.SERVER, **options)
    client.open(tuple(client_extensions))
    server.open(tuple(server_extensions))
    return client, server


def exchange(sender: Protocol, receiver: Protocol, chunk: int | None = None) -> list[Event]:
    """Carry what a protocol has to send to the other one; return what arrives there.

    Args:
        sender: whose output is taken.
        receiver: who gets it.
        chunk: how many bytes to carry at a time; None carries all at once.
    """
    events: list[Event] = []
    output = sender.data_to_send()
    data = b"".join(output)
    size = chunk or len(data) or 1
    for start in range(0, len(data), size):
        receiver.receive_data(data[start : start + size])
        events.extend(receiver.events())
    if b"" in output:
        receiver.receive_eof()
    return events
