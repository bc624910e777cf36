"""Dialing: names, addresses, sockets."""

from __future__ import annotations

import pathlib
import socket
from typing import Any

import gevent
import gevent.socket
import pytest

from geventws import (
    InvalidStatus,
    State,
    connect,
    unix_connect,
)
from geventws.testing import RawPeer, RawServer
from tests.net.support import (
    HOST,
    PATIENCE,
    client_tls,
    echo,
    free_port,
    server_tls,
    serving,
    uri_of,
)

# TCP and TLS.


def test_nobody_listens() -> None:
    with pytest.raises(ConnectionRefusedError):
        connect(f"ws://{HOST}:{free_port()}/")


def test_unknown_name() -> None:
    with pytest.raises(socket.gaierror):
        connect("ws://does-not-exist.invalid/")


def test_no_unix_socket(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        unix_connect(tmp_path / "socket")


def test_all_errors() -> None:
    with pytest.raises((ExceptionGroup, OSError)):
        connect(f"ws://localhost:{free_port()}/", all_errors=True)


# Where to.


def test_address() -> None:
    with serving(echo) as server:
        with connect("ws://example.com/", address=server.address) as ws:
            assert ws.request.headers["Host"] == "example.com"
            assert ws.remote_address == server.address


def test_source_address() -> None:
    with serving(lambda ws: ws.send(ws.remote_address[0])) as server:
        with connect(uri_of(server), source_address=("127.0.0.2", 0)) as ws:
            assert ws.recv() == "127.0.0.2"
            assert ws.local_address[0] == "127.0.0.2"


@pytest.mark.parametrize("module", [socket, gevent.socket], ids=["stdlib", "gevent"])
@pytest.mark.parametrize("tls", [False, True])
def test_existing_socket(module: Any, tls: bool) -> None:
    ssl_options = {"ssl": server_tls()} if tls else {}
    with serving(echo, **ssl_options) as server:
        sock = module.create_connection(server.address)
        uri = "wss://localhost/" if tls else "ws://localhost/"
        with connect(uri, sock=sock, ssl=client_tls() if tls else None) as ws:
            assert ws.request.headers["Host"] == "localhost"
            ws.send("hello")
            assert ws.recv() == "hello"
        # It was handed over.
        assert sock.fileno() == -1


def test_existing_unix_socket_of_a_pair() -> None:
    ours, theirs = gevent.socket.socketpair()
    opening = gevent.spawn(unix_connect, sock=ours)
    with RawServer() as server, RawPeer(theirs, side=None) as peer:  # type: ignore[arg-type]
        peer.send_bytes(server.response(server.recv_request(peer)))
        ws = opening.get(timeout=PATIENCE)
        assert ws.state is State.OPEN
    assert ws.wait_closed(PATIENCE)


def test_existing_socket_that_is_not_connected() -> None:
    with gevent.socket.socket() as sock:
        with pytest.raises(OSError):
            connect("ws://localhost/", sock=sock)


def test_existing_socket_after_a_failure_is_closed() -> None:
    with serving(echo, origins=["https://good"]) as server:
        sock = gevent.socket.create_connection(server.address)
        with pytest.raises(InvalidStatus):
            connect("ws://localhost/", sock=sock)
        assert sock.fileno() == -1


def test_existing_socket_with_tls_already() -> None:
    with serving(echo, ssl=server_tls()) as server:
        plain = gevent.socket.create_connection(server.address)
        with client_tls().wrap_socket(plain, server_hostname="localhost") as sock:
            with pytest.raises(TypeError, match="before TLS"):
                connect("wss://localhost/", sock=sock, ssl=client_tls())


def test_small_frames_are_sent_at_once() -> None:
    with serving(echo) as server, connect(uri_of(server)) as ws:
        assert ws._transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_socket_is_not_blocking_and_has_no_timeout() -> None:
    with serving(echo) as server, connect(uri_of(server)) as ws:
        assert ws._transport.sock.gettimeout() == 0
