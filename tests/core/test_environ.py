"""Tests of geventws.core.environ."""

from __future__ import annotations

from typing import Any

import pytest

from geventws.core.environ import asks_for_websocket, parse_environ, peer_address
from geventws.core.exceptions import InvalidMessage

ENVIRON: dict[str, Any] = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/chat",
    "QUERY_STRING": "",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_HOST": "localhost",
    "HTTP_UPGRADE": "websocket",
    "HTTP_CONNECTION": "keep-alive, Upgrade",
    "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
    "HTTP_X_REQUEST_ID": "7",
    "wsgi.input": None,
}


def with_(**others: Any) -> dict[str, Any]:
    return {**ENVIRON, **others}


def test_request() -> None:
    request = parse_environ(ENVIRON)
    assert (request.method, request.path, request.protocol) == ("GET", "/chat", "HTTP/1.1")
    assert list(request.headers.raw_items()) == [
        ("Host", "localhost"),
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("X-Request-Id", "7"),
    ]


@pytest.mark.parametrize(
    ("others", "path"),
    [
        ({"PATH_INFO": "/chat", "QUERY_STRING": "a=%20b"}, "/chat?a=%20b"),
        ({"SCRIPT_NAME": "/app", "PATH_INFO": "/chat"}, "/app/chat"),
        ({"PATH_INFO": "/gr\xc3\xbc\xc3\x9fe und mehr"}, "/gr%C3%BC%C3%9Fe%20und%20mehr"),
        ({"PATH_INFO": ""}, "/"),
        ({"RAW_URI": "/a%2Fb?c"}, "/a%2Fb?c"),
        ({"REQUEST_URI": "/a%2Fb?c"}, "/a%2Fb?c"),
        ({"RAW_URI": "http://localhost/a%2Fb"}, "/chat"),
    ],
)
def test_path(others: dict[str, str], path: str) -> None:
    assert parse_environ(with_(**others)).path == path


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"CONTENT_LENGTH": "5"}, "unsupported request body"),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, "transfer codings aren't supported"),
        ({"HTTP_X": "a\x00b"}, "invalid value for header X"),
    ],
)
def test_request_that_cannot_be_one(others: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidMessage) as raised:
        parse_environ(with_(**others))
    assert message in str(raised.value.__cause__)


def test_empty_body() -> None:
    for length in ("", "0"):
        parse_environ(with_(CONTENT_LENGTH=length))


@pytest.mark.parametrize(
    ("others", "asks"),
    [
        ({}, True),
        # What is wrong with it is for the handshake to say.
        ({"HTTP_SEC_WEBSOCKET_KEY": ""}, True),
        ({"REQUEST_METHOD": "POST"}, True),
        ({"HTTP_UPGRADE": "h2c"}, False),
        ({"HTTP_CONNECTION": "close"}, False),
        ({"HTTP_CONNECTION": "\x00"}, False),
    ],
)
def test_asks_for_websocket(others: dict[str, str], asks: bool) -> None:
    assert asks_for_websocket(with_(**others)) is asks
    assert not asks_for_websocket({"REQUEST_METHOD": "GET"})


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({"REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "80"}, ("127.0.0.1", 80)),
        ({"REMOTE_ADDR": "::1", "REMOTE_PORT": 80}, ("::1", 80)),
        ({"REMOTE_ADDR": "127.0.0.1"}, ("127.0.0.1", 0)),
        ({"REMOTE_ADDR": ""}, ""),
        ({}, ""),
    ],
)
def test_peer_address(environ: dict[str, Any], address: Any) -> None:
    assert peer_address(environ) == address
