"""Proxies without I/O: URLs, requests, answers."""

from __future__ import annotations

import base64

import pytest

from geventws.core.exceptions import (
    HeaderLineTooLong,
    InvalidProxy,
    InvalidProxyMessage,
    InvalidProxyStatus,
    StatusLineTooLong,
)
from geventws.core.proxies import Proxy, TunnelReader, connect_request, parse_proxy
from geventws.core.uri import parse_uri

VALID = {
    "http://proxy.example:3128": Proxy("http", "proxy.example", 3128),
    "http://proxy.example/": Proxy("http", "proxy.example", 80),
    "https://Proxy.Example": Proxy("https", "proxy.example", 443),
    "socks5h://proxy": Proxy("socks5h", "proxy", 1080),
    "socks5://proxy:1081": Proxy("socks5", "proxy", 1081),
    "socks4a://proxy": Proxy("socks4a", "proxy", 1080),
    "socks4://proxy": Proxy("socks4", "proxy", 1080),
    "http://[::1]:8080": Proxy("http", "::1", 8080),
    "http://us%40er:p%3Aw@proxy": Proxy("http", "proxy", 80, "us@er", "p:w"),
    "http://müller.example": Proxy("http", "xn--mller-kva.example", 80),
}

INVALID = {
    "ftp://proxy": "scheme ftp isn't supported",
    "proxy:3128": "scheme proxy isn't supported",
    "//proxy": "scheme  isn't supported",
    "http://": "hostname isn't provided",
    "http://:3128": "hostname isn't provided",
    "http://proxy/path": "path is meaningless",
    "http://proxy?query": "query is meaningless",
    "http://proxy#fragment": "fragment is meaningless",
    "http://user@proxy": "username provided without password",
    "http://user:%FF@proxy": "can't decode",
    "http://us%3Aer:password@proxy": "colon",
    "http://proxy:99999": "Port out of range",
    "http://proxy:port": "Port could not be cast",
    "http://pro\nxy": "percent-encoded",
}


@pytest.mark.parametrize("url", VALID)
def test_valid_url(url: str) -> None:
    assert parse_proxy(url) == VALID[url]


@pytest.mark.parametrize("url", INVALID)
def test_invalid_url(url: str) -> None:
    with pytest.raises(InvalidProxy) as raised:
        parse_proxy(url)
    assert raised.value.proxy == url
    assert INVALID[url] in raised.value.msg
    # As it stands in a log line.
    shown = url.replace("\n", "\\n")
    assert str(raised.value) == f"{shown} isn't a valid proxy: {raised.value.msg}"
    assert isinstance(raised.value.__cause__, ValueError)


def test_password_is_not_shown() -> None:
    assert "secret" not in repr(parse_proxy("http://user:secret@proxy"))


@pytest.mark.parametrize(
    "scheme, socks, name",
    [
        ("http", False, "HTTP proxy"),
        ("https", False, "HTTP proxy"),
        ("socks5h", True, "SOCKS proxy"),
        ("socks4", True, "SOCKS proxy"),
    ],
)
def test_kind(scheme: str, socks: bool, name: str) -> None:
    proxy = parse_proxy(f"{scheme}://proxy")
    assert (proxy.socks, proxy.name) == (socks, name)


@pytest.mark.parametrize(
    "uri, target, host",
    [
        ("ws://example.com/path", "example.com:80", "example.com"),
        ("wss://example.com/path", "example.com:443", "example.com"),
        ("wss://example.com:8443/", "example.com:8443", "example.com:8443"),
        ("ws://[::1]/", "[::1]:80", "[::1]"),
    ],
)
def test_request(uri: str, target: str, host: str) -> None:
    request = connect_request(parse_proxy("http://proxy"), parse_uri(uri), "agent/1.0")
    assert request.serialize() == (
        f"CONNECT {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: agent/1.0\r\n\r\n".encode()
    )


def test_request_with_credentials_and_without_user_agent() -> None:
    proxy = parse_proxy("http://user:p%C3%A4ss@proxy")
    headers = connect_request(proxy, parse_uri("ws://example.com/"), None).headers
    credentials = base64.b64encode("user:päss".encode()).decode()
    assert headers["Proxy-Authorization"] == f"Basic {credentials}"
    assert "User-Agent" not in headers


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("status", ["200 Connection established", "204 "])
def test_tunnel(version: str, status: str) -> None:
    reader = TunnelReader()
    # RFC 9110, section 9.3.6: "A client MUST ignore any Content-Length or Transfer-Encoding
    # header fields received in a successful response to CONNECT."
    answer = f"HTTP/{version} {status}\r\nContent-Length: 5\r\n\r\n".encode()
    for position in range(len(answer) - 1):
        assert not reader.receive_data(answer[position : position + 1])
    assert reader.receive_data(answer[-1:])


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "302 Found", "101 Odd"])
def test_refusal(status: str) -> None:
    with pytest.raises(InvalidProxyStatus) as raised:
        TunnelReader().receive_data(f"HTTP/1.1 {status}\r\n\r\nbody".encode())
    assert str(raised.value) == f"proxy rejected connection: HTTP {status[:3]}"
    assert raised.value.response.reason_phrase == status[4:]


@pytest.mark.parametrize(
    "answer, cause",
    [
        (b"SSH-2.0-OpenSSH\r\n", ValueError),
        (b"HTTP/2 200 OK\r\n\r\n", ValueError),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n", ValueError),
        (b"HTTP/1.1 200 " + b"a" * 9000, StatusLineTooLong),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 9000, HeaderLineTooLong),
        (b"", EOFError),
    ],
)
def test_nonsense(answer: bytes, cause: type[Exception]) -> None:
    with pytest.raises(InvalidProxyMessage) as raised:
        TunnelReader().receive_data(answer)
    assert str(raised.value) == "did not receive a valid HTTP response from proxy"
    assert isinstance(raised.value.__cause__, cause)
