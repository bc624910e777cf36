"""HTTP and HTTPS proxies: real ones, and those that only claim to be; which one is used."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from geventws import (
    InvalidProxy,
    InvalidProxyMessage,
    InvalidProxyStatus,
    InvalidStatus,
    connect,
    unix_connect,
)
from geventws.core.exceptions import HeaderLineTooLong
from geventws.core.uri import parse_uri
from geventws.net.proxy import Proxying, get_proxy
from geventws.testing import RawServer
from tests.net.proxies import PASSWORD, USER, proxy_py, running, tinyproxy
from tests.net.support import (
    HOST,
    PATIENCE,
    check_no_greenlet_is_left,
    client_tls,
    echo,
    free_port,
    greenlets,
    server_tls,
    serving,
    uri_of,
)

LARGE = "large" * 200_000


@pytest.fixture(scope="module")
def http() -> Iterator[int]:
    with running(tinyproxy) as port:
        yield port


@pytest.fixture(scope="module")
def https() -> Iterator[int]:
    with running(proxy_py, auth=True, tls=True) as port:
        yield port


CREDENTIALS = f"{USER}:{PASSWORD.replace(' ', '%20')}@"


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_tunnel(scheme: str, tls: bool, http: int, https: int) -> None:
    options: dict[str, Any] = {"proxy": f"http://{HOST}:{http}"}
    if scheme == "https":
        options = {"proxy": f"https://{CREDENTIALS}{HOST}:{https}", "proxy_ssl": client_tls()}
    if tls:
        options["ssl"] = client_tls()
    with serving(echo, ssl=server_tls() if tls else None) as server:
        with connect(uri_of(server, "wss" if tls else "ws"), **options) as ws:
            assert ws.remote_address == (HOST, http if scheme == "http" else https)
            assert ws.request.headers["Host"] == f"{HOST}:{server.address[1]}"
            for message in ("hello", LARGE):
                ws.send(message)
                assert ws.recv() == message


@pytest.mark.parametrize("credentials", ["", "user:wrong@"])
def test_wrong_credentials(credentials: str, https: int) -> None:
    proxy = f"https://{credentials}{HOST}:{https}"
    with pytest.raises(InvalidProxyStatus) as raised:
        connect("ws://localhost/", proxy=proxy, proxy_ssl=client_tls())
    assert str(raised.value) == "proxy rejected connection: HTTP 407"
    assert raised.value.response.headers["Proxy-Authenticate"] == "Basic"


def test_untrusted_proxy(https: int) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        connect("ws://localhost/", proxy=f"https://{HOST}:{https}")


def test_proxy_server_hostname(https: int) -> None:
    with serving(echo) as server:
        options = {"proxy": f"https://{CREDENTIALS}{HOST}:{https}", "proxy_ssl": client_tls()}
        with pytest.raises(ssl.SSLCertVerificationError, match="example.com"):
            connect(uri_of(server), proxy_server_hostname="example.com", **options)
        connect(uri_of(server), proxy_server_hostname="localhost", **options).close()


def test_unreachable_server(http: int) -> None:
    with pytest.raises(InvalidProxyStatus, match="HTTP 500"):
        connect(f"ws://{HOST}:{free_port()}/", proxy=f"http://{HOST}:{http}")


def test_unreachable_proxy() -> None:
    with pytest.raises(ConnectionRefusedError):
        connect("ws://localhost/", proxy=f"http://{HOST}:{free_port()}")


def test_refusal_through_a_tunnel(http: int) -> None:
    with serving(echo, origins=["https://good"]) as server:
        with pytest.raises(InvalidStatus):
            connect(uri_of(server), proxy=f"http://{HOST}:{http}")


# What is not a proxy.


def answering(answer: bytes) -> None:
    """Connect through a proxy that gives this answer, and closes then."""
    with RawServer() as proxy:
        uri = f"http://{HOST}:{proxy.address[1]}"
        opening = gevent.spawn(connect, "ws://example.com/", proxy=uri)
        with proxy.accept(open=False) as peer:
            peer.sock.recv(65536)
            peer.send_bytes(answer)
            peer.sock.shutdown(1)
            try:
                opening.get(timeout=PATIENCE)
            finally:
                peer.recv_eof()


@pytest.mark.parametrize(
    "answer, cause",
    [
        (b"", EOFError),
        (b"HTTP/1.1 200 OK\r\n", EOFError),
        (b"SSH-2.0-OpenSSH\r\n", ValueError),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 9000, HeaderLineTooLong),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n", ValueError),
    ],
)
def test_nonsense(answer: bytes, cause: type[Exception]) -> None:
    before = greenlets()
    with pytest.raises(InvalidProxyMessage) as raised:
        answering(answer)
    assert str(raised.value) == "did not receive a valid HTTP response from proxy"
    assert isinstance(raised.value.__cause__, cause)
    check_no_greenlet_is_left(before)


def test_reset() -> None:
    with RawServer() as proxy:
        uri = f"http://{HOST}:{proxy.address[1]}"
        opening = gevent.spawn(connect, "ws://example.com/", proxy=uri)
        proxy.accept(open=False).reset()
        with pytest.raises((InvalidProxyMessage, ConnectionResetError)):
            opening.get(timeout=PATIENCE)


def test_redirect_of_a_proxy_is_not_followed() -> None:
    with pytest.raises(InvalidProxyStatus, match="HTTP 302"):
        answering(b"HTTP/1.1 302 Found\r\nLocation: ws://localhost/\r\n\r\n")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_silence(scheme: str) -> None:
    before = greenlets()
    tls = {"proxy_ssl": client_tls()} if scheme == "https" else {}
    with RawServer() as proxy:
        uri = f"{scheme}://{HOST}:{proxy.address[1]}"
        with pytest.raises(TimeoutError) as raised:
            connect("ws://example.com/", proxy=uri, open_timeout=0.1, **tls)
    assert str(raised.value) == "timed out while connecting to HTTP proxy"
    check_no_greenlet_is_left(before)


@pytest.mark.parametrize("exc", [gevent.GreenletExit, gevent.Timeout])
def test_interrupted(exc: type[BaseException]) -> None:
    with RawServer() as proxy:
        uri = f"http://{HOST}:{proxy.address[1]}"
        opening = gevent.spawn(connect, "ws://example.com/", proxy=uri)
        with proxy.accept(open=False) as peer:
            assert peer.sock.recv(65536).startswith(b"CONNECT example.com:80 HTTP/1.1\r\n")
            opening.kill(exc)
            peer.recv_eof()


@pytest.mark.parametrize("user_agent", ["agent/1.0", None])
def test_user_agent(user_agent: str | None) -> None:
    with RawServer() as proxy:
        uri = f"http://{HOST}:{proxy.address[1]}"
        opening = gevent.spawn(
            connect, "ws://example.com/", proxy=uri, user_agent_header=user_agent
        )
        with proxy.accept(open=False) as peer:
            request = proxy.recv_request(peer)
            assert request.headers.get("User-Agent") == user_agent
            opening.kill()


# Which proxy.


@pytest.mark.parametrize(
    "environ, uri, proxy",
    [
        ({}, "ws://example.com/", None),
        ({"http_proxy": "http://p1"}, "ws://example.com/", "http://p1"),
        ({"http_proxy": "http://p1"}, "wss://example.com/", None),
        ({"https_proxy": "http://p2"}, "wss://example.com/", "http://p2"),
        ({"http_proxy": "http://p1", "https_proxy": "http://p2"}, "ws://a/", "http://p2"),
        ({"socks_proxy": "socks5://p3", "https_proxy": "http://p2"}, "ws://a/", "socks5://p3"),
        ({"socks_proxy": "http://p3:1080"}, "ws://a/", "socks5h://p3:1080"),
        ({"ws_proxy": "http://p4", "socks_proxy": "socks5://p3"}, "ws://a/", "http://p4"),
        ({"ws_proxy": "http://p4"}, "wss://a/", None),
        ({"wss_proxy": "http://p5", "https_proxy": "http://p2"}, "wss://a/", "http://p5"),
        ({"https_proxy": "http://p2", "no_proxy": "example.com"}, "wss://example.com/", None),
        ({"https_proxy": "http://p2", "no_proxy": "example.com"}, "wss://a.example.com/", None),
        ({"https_proxy": "http://p2", "no_proxy": "other"}, "wss://example.com/", "http://p2"),
        ({"https_proxy": "http://p2", "no_proxy": "a:8443"}, "wss://a:8443/", None),
        ({"https_proxy": "http://p2", "no_proxy": "a:8443"}, "wss://a/", "http://p2"),
        ({"https_proxy": "http://p2", "no_proxy": "::1"}, "wss://[::1]/", None),
        ({"https_proxy": "http://p2", "no_proxy": "*"}, "wss://a/", None),
    ],
)
def test_environment(
    environ: dict[str, str], uri: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert get_proxy(parse_uri(uri)) == proxy


def test_proxy_from_the_environment(http: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ws_proxy", f"http://{HOST}:{http}")
    with serving(echo) as server:
        with connect(uri_of(server)) as ws:
            assert ws.remote_address == (HOST, http)
        with connect(uri_of(server), proxy=None) as ws:
            assert ws.remote_address == server.address
        monkeypatch.setenv("no_proxy", HOST)
        with connect(uri_of(server)) as ws:
            assert ws.remote_address == server.address


def test_no_proxy_where_the_way_is_given(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ws_proxy", f"http://{HOST}:{free_port()}")
    with serving(echo) as server:
        connect("ws://example.com/", address=server.address).close()
        sock = gevent.socket.create_connection(server.address)
        connect("ws://example.com/", sock=sock).close()
        with pytest.raises(FileNotFoundError):
            unix_connect(tmp_path / "socket")


# Arguments.


def test_bad_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidProxy, match="scheme ftp isn't supported"):
        connect("ws://localhost/", proxy="ftp://proxy")
    monkeypatch.setenv("ws_proxy", "ftp://proxy")
    with pytest.raises(InvalidProxy, match="scheme ftp isn't supported"):
        connect("ws://localhost/")


def test_contradictions() -> None:
    text = "proxy_ssl argument is incompatible with an http:// proxy"
    with pytest.raises(ValueError, match=text):
        connect("ws://localhost/", proxy="http://proxy", proxy_ssl=client_tls())
    with pytest.raises(ValueError, match="address incompatible with proxy"):
        connect("ws://localhost/", proxy="http://proxy", address=(HOST, 1))


def test_no_proxies_by_default() -> None:
    assert Proxying().choose(parse_uri("ws://localhost/")) is None
