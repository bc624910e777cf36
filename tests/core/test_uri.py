"""Tests of geventws.core.uri."""

from __future__ import annotations

import dataclasses

import pytest

from geventws.core.exceptions import InvalidURI
from geventws.core.uri import WebSocketURI, parse_uri

VALID = {
    "ws://localhost/": WebSocketURI(False, "localhost", 80, "/", ""),
    "wss://localhost/": WebSocketURI(True, "localhost", 443, "/", ""),
    "ws://localhost": WebSocketURI(False, "localhost", 80, "", ""),
    "ws://localhost:/": WebSocketURI(False, "localhost", 80, "/", ""),
    "WS://LocalHost/Path?Query": WebSocketURI(False, "localhost", 80, "/Path", "Query"),
    "wss://localhost:8765/a/b?c=d&e": WebSocketURI(True, "localhost", 8765, "/a/b", "c=d&e"),
    "ws://localhost?x=1": WebSocketURI(False, "localhost", 80, "", "x=1"),
    "ws://localhost/a;b=1": WebSocketURI(False, "localhost", 80, "/a;b=1", ""),
    "ws://127.0.0.1:80/": WebSocketURI(False, "127.0.0.1", 80, "/", ""),
    "ws://under_score.local/": WebSocketURI(False, "under_score.local", 80, "/", ""),
    # IPv6
    "ws://[::1]:8765/": WebSocketURI(False, "::1", 8765, "/", ""),
    "wss://[2001:DB8::1]/": WebSocketURI(True, "2001:db8::1", 443, "/", ""),
    "ws://[fe80::1%25eth0]/": WebSocketURI(False, "fe80::1%eth0", 80, "/", ""),
    # user information
    "ws://user:pass@localhost/": WebSocketURI(False, "localhost", 80, "/", "", "user", "pass"),
    "ws://us%C3%A9r:p%40ss%3A@localhost/": WebSocketURI(
        False, "localhost", 80, "/", "", "usér", "p@ss:"
    ),
    "ws://user:@localhost/": WebSocketURI(False, "localhost", 80, "/", "", "user", ""),
    # outside ASCII
    "ws://müller.example/": WebSocketURI(False, "xn--mller-kva.example", 80, "/", ""),
    "ws://localhost/π%20?ö=%C3%B6": WebSocketURI(
        False, "localhost", 80, "/%CF%80%20", "%C3%B6=%C3%B6"
    ),
    "ws://usér:päss@localhost/": WebSocketURI(False, "localhost", 80, "/", "", "usér", "päss"),
}

INVALID = {
    "http://localhost/": "scheme isn't ws or wss",
    "localhost:8765": "scheme isn't ws or wss",
    "//localhost/": "scheme isn't ws or wss",
    "": "scheme isn't ws or wss",
    "ws:///path": "hostname isn't provided",
    "ws://": "hostname isn't provided",
    "ws://:8765/": "hostname isn't provided",
    "ws://localhost/#fragment": "fragment identifier is meaningless",
    "ws://localhost/#": "fragment identifier is meaningless",
    "ws://user@localhost/": "username provided without password",
    "ws://us%3Aer:pass@localhost/": "username contains a colon",
    "ws://user:pa%0Ass@localhost/": "username or password contains control characters",
    "ws://us%FFer:pass@localhost/": "can't decode byte",
    "ws://localhost:0/": "port 0",
    "ws://localhost:65536/": "Port out of range",
    "ws://localhost:-1/": "Port could not be cast",
    "ws://localhost:http/": "Port could not be cast",
    "ws://localhost:8_0/": "Port could not be cast",
    "ws://[::1/": "Invalid IPv6 URL",
    "ws://[fe80::1%25]/": "invalid zone identifier: ",
    "ws://[fe80::1%25ethé]/": "invalid zone identifier: eth\\xe9",
    # what Python's parser says of these differs between its versions
    "ws://[v1.x]/": "",
    "ws://[::g]/": "",
    "ws://exa%6Dple/": "invalid hostname",
    "ws://exam\\ple/": "invalid hostname",
    "ws://" + "ö" * 70 + "/": "too long",
    "ws://local host/": "spaces and control characters must be percent-encoded",
    "ws://localhost/a b": "spaces and control characters must be percent-encoded",
    " ws://localhost/": "spaces and control characters must be percent-encoded",
    "ws://localhost/\r\nX: y": "spaces and control characters must be percent-encoded",
    "ws://localhost/\x00": "spaces and control characters must be percent-encoded",
    "ws://localhost/\x7f": "spaces and control characters must be percent-encoded",
    "ws://localhost/\u2028": "spaces and control characters must be percent-encoded",
    "ws://localhost/\ud800": "surrogates not allowed",
}


@pytest.mark.parametrize("uri, expected", VALID.items())
def test_valid_uri(uri: str, expected: WebSocketURI) -> None:
    assert parse_uri(uri) == expected


@pytest.mark.parametrize("uri, message", INVALID.items())
def test_invalid_uri(uri: str, message: str) -> None:
    with pytest.raises(InvalidURI) as raised:
        parse_uri(uri)
    assert raised.value.uri == uri
    assert message in raised.value.msg


@pytest.mark.parametrize(
    "uri, resource_name",
    [
        ("ws://localhost", "/"),
        ("ws://localhost/", "/"),
        ("ws://localhost?x", "/?x"),
        ("ws://localhost/a/b?x=y", "/a/b?x=y"),
    ],
)
def test_resource_name(uri: str, resource_name: str) -> None:
    assert parse_uri(uri).resource_name == resource_name


def test_user_info() -> None:
    assert parse_uri("ws://localhost/").user_info is None
    assert parse_uri("ws://user:secret@localhost/").user_info == ("user", "secret")


def test_uri_is_frozen() -> None:
    uri = parse_uri("ws://localhost/")
    with pytest.raises(dataclasses.FrozenInstanceError):
        uri.host = "elsewhere"  # type: ignore[misc]


def test_password_is_not_shown() -> None:
    assert "secret" not in repr(parse_uri("ws://user:secret@localhost/"))
