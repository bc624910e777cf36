"""Servers for a moment, and both ends of one connection."""

from __future__ import annotations

import ssl
from typing import Any

import gevent
import pytest

from geventws import ConnectionClosedOK, InvalidStatus, State
from geventws.testing import RunningServer, connection_pair
from tests.net.support import client_tls, echo, server_tls


def test_a_server_runs_in_its_block() -> None:
    with RunningServer(echo, subprotocols=["chat"]) as server:
        with server.connect("/path?x=1", subprotocols=["chat"]) as ws:
            assert ws.subprotocol == "chat"
            assert ws.path == "/path?x=1"
            ws.send("Hello!")
            assert ws.recv(timeout=10) == "Hello!"
        assert server.uri == f"ws://localhost:{server.port}"
    with pytest.raises(OSError):
        server.connect()


def test_a_server_with_tls() -> None:
    with RunningServer(echo, ssl=server_tls()) as server:
        with server.connect(ssl=client_tls()) as ws:
            ws.send("Hello!")
            assert ws.recv(timeout=10) == "Hello!"
        with pytest.raises(ssl.SSLError):
            server.connect()


def test_a_server_does_not_wait_for_its_handlers() -> None:
    with RunningServer(lambda ws: gevent.sleep(60)) as server:
        ws = server.connect()
    with pytest.raises(ConnectionClosedOK):
        ws.recv(timeout=10)
    assert ws.close_code == 1001


def test_a_pair_talks_both_ways() -> None:
    with connection_pair("/path") as (client, server):
        client.send("to the server")
        assert server.recv(timeout=10) == "to the server"
        server.send(b"to the client")
        assert client.recv(timeout=10) == b"to the client"
        assert server.path == "/path"
        assert server.remote_address == ("127.0.0.1", 0)
    assert client.state is server.state is State.CLOSED
    assert client.close_code == server.close_code == 1000


def test_a_pair_has_options() -> None:
    options: dict[str, Any] = {"subprotocols": ["a", "b"], "compression": None}
    with connection_pair(client=options, server={"subprotocols": ["b"]}) as (client, server):
        assert client.subprotocol == server.subprotocol == "b"
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers


def test_a_pair_may_be_refused() -> None:
    with pytest.raises(InvalidStatus, match="403"):
        with connection_pair(server={"origins": ["https://example.com"]}):
            pass


def test_a_pair_may_be_closed_by_either_end() -> None:
    with connection_pair() as (client, server):
        closing = gevent.spawn(server.close, 4000, "enough")
        with pytest.raises(Exception, match="4000"):
            client.recv(timeout=10)
        closing.join()
        assert client.close_code == 4000
