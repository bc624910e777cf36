"""Clients: the request, and arguments."""

from __future__ import annotations

import base64
import functools
import inspect
import os
import pathlib
import socket
import sys
from typing import Any

import gevent
import gevent.socket
import pytest

from geventws import (
    ClientConnection,
    Headers,
    InvalidURI,
    connect,
    unix_connect,
    unix_serve,
)
from geventws.core.http11 import Request
from geventws.net.products import USER_AGENT
from tests.net.support import (
    HOST,
    PATIENCE,
    client_tls,
    echo,
    server_tls,
    serving,
    uri_of,
)

# The request.


def requesting(path: str = "", user_info: str = "", **options: Any) -> Request:
    """Connect, and return the request as the server got it."""
    requests = []

    def handler(ws: Any) -> None:
        requests.append(ws.request)

    with serving(handler) as server:
        uri = uri_of(server).replace("//", f"//{user_info}") + path
        with connect(uri, **options) as ws:
            assert ws.wait_closed(PATIENCE)
            assert ws.request.headers == requests[0].headers
    request: Request = requests[0]
    return request


def test_request() -> None:
    request = requesting(
        "é?x=ü",
        "user:pass%20word@",
        origin="https://example.com",
        subprotocols=["chat"],
        additional_headers={"X-Own": "1"},
    )
    assert (request.method, request.protocol) == ("GET", "HTTP/1.1")
    assert request.path == "/%C3%A9?x=%C3%BC"
    assert [name for name, _ in request.headers.raw_items()] == [
        "Host",
        "Authorization",
        "Origin",
        "Upgrade",
        "Connection",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Extensions",
        "Sec-WebSocket-Protocol",
        "X-Own",
        "User-Agent",
    ]
    headers = request.headers
    credentials = base64.b64encode(b"user:pass word").decode()
    assert headers["Authorization"] == f"Basic {credentials}"
    assert headers["Origin"] == "https://example.com"
    assert headers["Sec-WebSocket-Extensions"] == "permessage-deflate; client_max_window_bits"
    assert headers["Sec-WebSocket-Protocol"] == "chat"
    assert headers["User-Agent"] == USER_AGENT
    major, minor = sys.version_info[:2]
    assert USER_AGENT.startswith(f"Python/{major}.{minor} gevent/")
    assert len(base64.b64decode(headers["Sec-WebSocket-Key"])) == 16


@pytest.mark.parametrize(
    "additional",
    [
        {"X-Own": "1", "X-Other": "2"},
        [("X-Own", "1"), ("X-Other", "2")],
        Headers({"X-Own": "1", "X-Other": "2"}),
    ],
    ids=["mapping", "pairs", "Headers"],
)
def test_additional_headers(additional: Any) -> None:
    headers = requesting(additional_headers=additional).headers
    assert (headers["X-Own"], headers["X-Other"]) == ("1", "2")


def test_additional_headers_replace() -> None:
    headers = requesting(
        user_info="user:password@",
        origin="https://example.com",
        additional_headers={
            "Host": "example.org",
            "Origin": "https://example.org",
            "Authorization": "Bearer token",
            "User-Agent": "own/1.0",
        },
    ).headers
    assert headers.get_all("Host") == ["example.org"]
    assert headers.get_all("Origin") == ["https://example.org"]
    assert headers.get_all("Authorization") == ["Bearer token"]
    assert headers.get_all("User-Agent") == ["own/1.0"]


@pytest.mark.parametrize("user_agent", [None, "own/1.0"])
def test_user_agent_header(user_agent: str | None) -> None:
    headers = requesting(user_agent_header=user_agent).headers
    assert headers.get("User-Agent") == user_agent


def test_no_compression() -> None:
    assert "Sec-WebSocket-Extensions" not in requesting(compression=None).headers


# Arguments.


@pytest.mark.parametrize(
    "uri, exception, text",
    [
        ("http://localhost/", InvalidURI, "http://localhost/"),
        ("ws://localhost/#fragment", InvalidURI, "fragment"),
        ("ws:///path", InvalidURI, "host"),
        ("ws://user@localhost/", InvalidURI, "password"),
        ("localhost", InvalidURI, "localhost"),
    ],
)
def test_bad_uri(uri: str, exception: type[Exception], text: str) -> None:
    with pytest.raises(exception, match=text):
        connect(uri)


@pytest.mark.parametrize(
    "options, exception, text",
    [
        ({"ssl": client_tls()}, ValueError, "ssl argument is incompatible with a ws:// URI"),
        ({"compression": "gzip"}, ValueError, "unsupported compression: gzip"),
        ({"subprotocols": "chat"}, TypeError, "subprotocols must be a list, not a str"),
        ({"max_queue": (1, 2)}, ValueError, "greater than or equal to low"),
        ({"additional_headers": {"X": "a\r\nb"}}, ValueError, "X"),
        ({"origin": "a\nb"}, ValueError, "Origin"),
        ({"unknown": 1}, TypeError, "unknown"),
    ],
)
def test_bad_arguments(options: dict[str, Any], exception: type[Exception], text: str) -> None:
    with serving(echo) as server:
        with pytest.raises(exception, match=text):
            connect(uri_of(server), **options)


@pytest.mark.parametrize("name", ["address", "source_address"])
def test_arguments_that_contradict_a_socket(name: str) -> None:
    with gevent.socket.socket() as sock:
        with pytest.raises(ValueError, match=f"{name} incompatible with sock"):
            connect("ws://localhost/", sock=sock, **{name: (HOST, 1)})
        assert sock.fileno() != -1


def test_unix_socket_without_path_or_with_two(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="needs a path"):
        unix_connect()
    with gevent.socket.socket(socket.AF_UNIX) as sock:
        with pytest.raises(ValueError, match="needs a path"):
            unix_connect(tmp_path / "socket", sock=sock)


def test_defaults_are_those_of_websockets() -> None:
    theirs = pytest.importorskip("websockets.sync.client").connect
    expected = inspect.signature(theirs).parameters
    parameters = inspect.signature(connect).parameters
    # What only that library needs; and what says who one is.
    for name in expected.keys() - {"legacy", "user_agent_header"}:
        assert parameters[name].default == expected[name].default, name
        assert parameters[name].kind == expected[name].kind, name


# Unix sockets.


@pytest.mark.parametrize("kind", [str, os.fsencode, pathlib.Path])
def test_path_of_a_unix_socket(kind: Any, tmp_path: pathlib.Path) -> None:
    path = kind(str(tmp_path / "socket"))
    with unix_serve(echo, path), unix_connect(path) as ws:
        assert (ws.request.headers["Host"], ws.request.path) == ("localhost", "/")
        ws.send("hello")
        assert ws.recv(PATIENCE) == "hello"


def test_unix_socket_with_tls(tmp_path: pathlib.Path) -> None:
    with unix_serve(echo, tmp_path / "socket", ssl=server_tls()):
        # The certificate is one for localhost.
        with unix_connect(tmp_path / "socket", ssl=client_tls()) as ws:
            assert ws.ssl_object is not None
            ws.send("hello")
            assert ws.recv(PATIENCE) == "hello"


@pytest.mark.parametrize("given", ["path", "sock"])
def test_uri_for_a_unix_socket(given: str, tmp_path: pathlib.Path) -> None:
    uri = "ws://example.com/chat?room=1"
    with unix_serve(echo, tmp_path / "socket"):
        with gevent.socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(tmp_path / "socket"))
            how: dict[str, Any] = {"path": tmp_path / "socket", "sock": sock}
            with unix_connect(uri=uri, **{given: how[given]}) as ws:
                assert ws.request.headers["Host"] == "example.com"
                assert ws.request.path == "/chat?room=1"
                assert ws.remote_address == str(tmp_path / "socket")


# create_connection.


class Account(ClientConnection):
    """A connection with something of its own."""

    def __init__(self, *args: Any, bonus: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.balance = bonus


@pytest.mark.parametrize("bonus", [0, 5])
def test_create_connection(bonus: int) -> None:
    create = functools.partial(Account, bonus=bonus) if bonus else Account
    with serving(echo) as server:
        with connect(uri_of(server), create_connection=create) as ws:
            assert isinstance(ws, Account)
            assert ws.balance == bonus


def test_create_connection_that_raises() -> None:
    def create_connection(*args: Any, **kwargs: Any) -> ClientConnection:
        raise RuntimeError("oops")

    with serving(echo) as server:
        with pytest.raises(RuntimeError, match="oops"):
            connect(uri_of(server), create_connection=create_connection)
