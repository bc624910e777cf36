"""Dialing: names, addresses, sockets."""

from __future__ import annotations

import _socket
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
    serve,
    unix_connect,
)
from geventws.core.redirects import Target
from geventws.core.uri import parse_uri
from geventws.net.dialing import Dialer, Stage
from geventws.net.proxy import Proxying
from geventws.testing import RawPeer, RawServer
from tests.net.support import (
    HOST,
    PATIENCE,
    black_hole,
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


class Names:
    """Look-ups of names that this machine does not know."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **addresses: list[Any]) -> None:
        self._original = _socket.getaddrinfo
        self._addresses = addresses
        # What was looked up.
        self.asked: list[str] = []
        monkeypatch.setattr(_socket, "getaddrinfo", self)

    def __call__(self, host: Any, port: Any, *args: Any) -> Any:
        if args[-1:] == (socket.AI_NUMERICHOST,):
            return self._original(host, port, *args)
        self.asked.append(host)
        addresses = self._addresses[host.partition(".")[0].replace("-", "_")]
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in addresses]


def test_dead_address_does_not_eat_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(echo) as server, black_hole() as dead:
        Names(monkeypatch, double=[dead, server.address])
        with connect("ws://double.invalid/", open_timeout=PATIENCE) as ws:
            assert ws.remote_address == server.address


def test_all_addresses_are_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    with black_hole() as one, black_hole() as other:
        Names(monkeypatch, double=[one, other])
        with pytest.raises(TimeoutError, match="timed out while connecting"):
            connect("ws://double.invalid/", open_timeout=0.4)


def test_name_outside_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(echo) as server:
        names = Names(monkeypatch, xn__mller_kva=[server.address])
        with connect("ws://müller.invalid/") as ws:
            assert ws.request.headers["Host"] == "xn--mller-kva.invalid"
        assert names.asked == ["xn--mller-kva.invalid"]


def test_ipv6() -> None:
    with serve(echo, "::1", 0) as server:
        with connect(f"ws://[::1]:{server.address[1]}/") as ws:
            assert ws.request.headers["Host"] == f"[::1]:{server.address[1]}"
            assert ws.remote_address[:2] == server.address[:2]


def test_timeout_of_tcp() -> None:
    with black_hole() as (host, port):
        with pytest.raises(TimeoutError, match="timed out while connecting"):
            connect(f"ws://{host}:{port}/", timeout=0.1)
    with serving(echo) as server:
        # It is over once there is a connection.
        with connect(uri_of(server), timeout=0.1) as ws:
            gevent.sleep(0.15)
            ws.send("hello")
            assert ws.recv() == "hello"


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


def test_through_a_proxy() -> None:
    with serving(echo) as server, RawServer() as proxy:
        dialer = Dialer(proxying=Proxying(proxy=f"http://{HOST}:{proxy.address[1]}"))
        with Stage(PATIENCE) as stage:
            dialing = gevent.spawn(dialer.dial, parse_uri(uri_of(server)), stage)
            with proxy.accept(open=False) as peer:
                assert proxy.recv_request(peer).path == f"{HOST}:{server.address[1]}"
                # What an open timeout would say.
                assert stage.doing == "connecting to HTTP proxy"
                peer.send_bytes(b"HTTP/1.1 200 OK\r\n\r\n")
                transport = dialing.get()
                assert transport.sock.getpeername() == proxy.address
                transport.close()


# Where redirects may lead.


@pytest.mark.parametrize("address", [None, (HOST, 1), "/run/socket", b"/run/socket"], ids=repr)
def test_redirect_within_an_origin(address: Any) -> None:
    old, new = Target.parse("ws://localhost/"), Target.parse("ws://localhost/other")
    Dialer(address=address).check_redirect(old, new)


def test_redirect_to_another_origin() -> None:
    Dialer().check_redirect(Target.parse("ws://localhost/"), Target.parse("wss://example.com/"))


@pytest.mark.parametrize(
    "address, fixed",
    [
        ((HOST, 1), "an explicit host and port"),
        ("/run/socket", "a Unix socket"),
        (b"/run/socket", "a Unix socket"),
    ],
    ids=repr,
)
def test_redirect_away_from_an_address(address: Any, fixed: str) -> None:
    old, new = Target.parse("ws://localhost/"), Target.parse("ws://example.com/")
    with pytest.raises(ValueError) as raised:
        Dialer(address=address).check_redirect(old, new)
    text = f"cannot follow cross-origin redirect to ws://example.com/ with {fixed}"
    assert str(raised.value) == text


def test_redirect_with_a_socket() -> None:
    target = Target.parse("ws://localhost/")
    with gevent.socket.socket() as sock:
        with pytest.raises(ValueError) as raised:
            Dialer(sock).check_redirect(target, target)
    text = "cannot follow redirect to ws://localhost/ with a preexisting socket"
    assert str(raised.value) == text


# Arguments.


def test_what_contradicts_a_socket() -> None:
    with gevent.socket.socket() as sock:
        with pytest.raises(ValueError) as raised:
            Dialer(sock, address=(HOST, 1), source_address=(HOST, 0), timeout=1)
    text = "address, source_address, timeout incompatible with sock, which is connected already"
    assert str(raised.value) == text


def test_what_contradicts_a_proxy() -> None:
    with pytest.raises(ValueError) as raised:
        Dialer(proxying=Proxying(proxy="http://localhost"), address=(HOST, 1))
    text = "address incompatible with proxy, which chooses the address itself"
    assert str(raised.value) == text
    # The environment's proxy is just not asked for.
    Dialer(proxying=Proxying(proxy=True), address=(HOST, 1))
