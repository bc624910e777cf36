"""What tests need: connections in memory, servers for a moment, and peers that misbehave."""

from __future__ import annotations

from geventws.testing.connections import RunningServer, connection_pair
from geventws.testing.protocols import exchange, protocol_pair
from geventws.testing.raw import KEY, RawClient, RawPeer, RawServer
from geventws.testing.wsgi import WSGIClient

__all__ = [
    "KEY",
    "RawClient",
    "RawPeer",
    "RawServer",
    "RunningServer",
    "WSGIClient",
    "connection_pair",
    "exchange",
    "protocol_pair",
]
