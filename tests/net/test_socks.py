"""SOCKS proxies: real ones, and those that only claim to be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from geventws import ProxyError, connect
from geventws.testing import RawServer
from tests.net.proxies import PASSWORD, USER, microsocks, running, twisted
from tests.net.support import HOST, PATIENCE, client_tls, echo, server_tls, serving, uri_of

CREDENTIALS = f"{USER}:{PASSWORD.replace(' ', '%20')}@"


@pytest.fixture(scope="module")
def socks5() -> Iterator[int]:
    with running(microsocks) as port:
        yield port


@pytest.fixture(scope="module")
def socks5_with_credentials() -> Iterator[int]:
    with running(microsocks, auth=True) as port:
        yield port


@pytest.fixture(scope="module")
def socks4() -> Iterator[int]:
    with running(twisted) as port:
        yield port


@pytest.mark.parametrize("scheme", ["socks5h", "socks5", "socks4a", "socks4"])
@pytest.mark.parametrize("host", ["localhost", HOST])
@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
def test_tunnel(scheme: str, host: str, tls: bool, socks5: int, socks4: int) -> None:
    port = socks5 if "5" in scheme else socks4
    options: dict[str, Any] = {"ssl": client_tls()} if tls else {}
    with serving(echo, ssl=server_tls() if tls else None) as server:
        uri = f"{'wss' if tls else 'ws'}://{host}:{server.address[1]}/"
        with connect(uri, proxy=f"{scheme}://{HOST}:{port}", **options) as ws:
            assert ws.remote_address == (HOST, port)
            ws.send("hello")
            assert ws.recv() == "hello"


def test_credentials(socks5_with_credentials: int) -> None:
    with serving(echo) as server:
        proxy = f"socks5h://{CREDENTIALS}{HOST}:{socks5_with_credentials}"
        with connect(uri_of(server), proxy=proxy) as ws:
            ws.send("hello")
            assert ws.recv() == "hello"


@pytest.mark.parametrize(
    "credentials, text",
    [
        ("", "No acceptable authentication methods were offered"),
        ("user:wrong@", "Username and password authentication failure"),
        ("%C3%BC:wrong@", "ascii"),
    ],
)
def test_wrong_credentials(credentials: str, text: str, socks5_with_credentials: int) -> None:
    proxy = f"socks5h://{credentials}{HOST}:{socks5_with_credentials}"
    with pytest.raises(ProxyError) as raised:
        connect("ws://localhost/", proxy=proxy)
    assert str(raised.value) == "failed to connect to SOCKS proxy"
    assert text in str(raised.value.__cause__)


def test_unreachable_server(socks5: int) -> None:
    with pytest.raises(ProxyError) as raised:
        connect("ws://localhost:1/", proxy=f"socks5h://{HOST}:{socks5}")
    assert str(raised.value.__cause__) == "Connection refused by destination host"


def test_unknown_name(socks5: int) -> None:
    # Whoever looks it up.
    with pytest.raises(ProxyError):
        connect("ws://does-not-exist.invalid/", proxy=f"socks5h://{HOST}:{socks5}")
    with pytest.raises(OSError):
        connect("ws://does-not-exist.invalid/", proxy=f"socks5://{HOST}:{socks5}")


def answering(answer: bytes) -> None:
    """Connect through a proxy that answers this, whatever it is asked, and closes then."""
    with RawServer() as proxy:
        uri = f"socks5h://{HOST}:{proxy.address[1]}"
        opening = gevent.spawn(connect, "ws://localhost/", proxy=uri)
        with proxy.accept(open=False) as peer:
            peer.sock.recv(3)
            peer.send_bytes(answer)
            peer.sock.shutdown(1)
            opening.get(timeout=PATIENCE)


@pytest.mark.parametrize(
    "answer, cause",
    [
        (b"", EOFError),
        (b"\x05", EOFError),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Exception),
        (b"\x05\x02", Exception),
        (b"\x05\x00\x05\x00\x00\x01\x00", EOFError),
        (b"\x05\x00\x05\x00\x00\x07", Exception),
        (b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50early", ValueError),
    ],
)
def test_nonsense(answer: bytes, cause: type[Exception]) -> None:
    with pytest.raises(ProxyError) as raised:
        answering(answer)
    assert str(raised.value) == "failed to connect to SOCKS proxy"
    assert isinstance(raised.value.__cause__, cause)


def test_silence() -> None:
    with RawServer() as proxy:
        with pytest.raises(TimeoutError) as raised:
            uri = f"socks5h://{HOST}:{proxy.address[1]}"
            connect("ws://localhost/", proxy=uri, open_timeout=0.1)
    assert str(raised.value) == "timed out while connecting to SOCKS proxy"


def test_reset() -> None:
    with RawServer() as proxy:
        uri = f"socks5h://{HOST}:{proxy.address[1]}"
        opening = gevent.spawn(connect, "ws://localhost/", proxy=uri)
        proxy.accept(open=False).reset()
        with pytest.raises(ConnectionResetError):
            opening.get(timeout=PATIENCE)


def test_without_python_socks(socks5: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_socks", None)
    with pytest.raises(ImportError, match=r"requires python-socks.* pip install geventws\[socks\]"):
        connect("ws://localhost/", proxy=f"socks5h://{HOST}:{socks5}")
