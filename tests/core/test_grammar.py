"""Tests of geventws.core.grammar."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from geventws.core import grammar
from geventws.core.exceptions import (
    InvalidHeader,
    InvalidHeaderFormat,
    InvalidHeaderValue,
    InvalidUpgrade,
)
from geventws.core.headers import Headers

Parse = Callable[[str], Any]


@pytest.mark.parametrize(
    "parse, value, expected",
    [
        (grammar.parse_connection, "Upgrade", ["Upgrade"]),
        (grammar.parse_connection, "keep-alive, Upgrade", ["keep-alive", "Upgrade"]),
        (grammar.parse_connection, ",, a ,\t,b,, ", ["a", "b"]),
        (grammar.parse_upgrade, "websocket", ["websocket"]),
        (grammar.parse_upgrade, "HTTP/3.0, websocket", ["HTTP/3.0", "websocket"]),
        (grammar.parse_subprotocol, "chat,superchat", ["chat", "superchat"]),
        (grammar.parse_extension, "foo", [("foo", [])]),
        (grammar.parse_extension, "foo, bar", [("foo", []), ("bar", [])]),
        (
            grammar.parse_extension,
            'foo; name; token=token; quoted="string",\tbar ; quux = 1',
            [
                ("foo", [("name", None), ("token", "token"), ("quoted", "string")]),
                ("bar", [("quux", "1")]),
            ],
        ),
        (grammar.parse_extension, r'foo; a="b\c"', [("foo", [("a", "bc")])]),
    ],
)
def test_list(parse: Parse, value: str, expected: Any) -> None:
    assert parse(value) == expected


@pytest.mark.parametrize(
    "parse, value, message",
    [
        (grammar.parse_connection, "a b", "Connection header: expected comma at 2 in a b"),
        (grammar.parse_connection, "", "Connection header: expected token at 0 in "),
        (grammar.parse_connection, ", ,", "Connection header: expected token at 3 in , ,"),
        (grammar.parse_connection, "a;", "Connection header: expected comma at 1 in a;"),
        (grammar.parse_connection, "é", "Connection header: expected token at 0 in é"),
        (grammar.parse_upgrade, "/1", "Upgrade header: expected protocol at 0 in /1"),
        (grammar.parse_upgrade, "a/", "Upgrade header: expected comma at 1 in a/"),
        (
            grammar.parse_subprotocol,
            "chat, =",
            "Sec-WebSocket-Protocol header: expected token at 6 in chat, =",
        ),
        (
            grammar.parse_extension,
            "permessage-deflate; =",
            "Sec-WebSocket-Extensions header: expected token at 20 in permessage-deflate; =",
        ),
        (
            grammar.parse_extension,
            "foo; a=",
            "Sec-WebSocket-Extensions header: expected token at 7 in foo; a=",
        ),
        (
            grammar.parse_extension,
            'foo; a="',
            'Sec-WebSocket-Extensions header: expected quoted string at 7 in foo; a="',
        ),
        (
            grammar.parse_extension,
            'foo; a="b c"',
            'Sec-WebSocket-Extensions header: invalid quoted header content at 7 in foo; a="b c"',
        ),
        (
            grammar.parse_extension,
            'foo; a=""',
            'Sec-WebSocket-Extensions header: invalid quoted header content at 7 in foo; a=""',
        ),
    ],
)
def test_malformed_list(parse: Parse, value: str, message: str) -> None:
    with pytest.raises(InvalidHeaderFormat) as raised:
        parse(value)
    assert str(raised.value) == f"invalid {message}"


@pytest.mark.parametrize(
    "extensions, value",
    [
        ([("foo", [])], "foo"),
        ([("foo", [("a", None), ("b", "1")]), ("bar", [])], "foo; a; b=1, bar"),
    ],
)
def test_build_extension(extensions: list[Any], value: str) -> None:
    assert grammar.build_extension(extensions) == value
    assert grammar.parse_extension(value) == extensions


def test_build_subprotocol() -> None:
    assert grammar.build_subprotocol(["a", "b"]) == "a, b"


def test_validate_subprotocols() -> None:
    grammar.validate_subprotocols(["chat", "v1.chat+json"])
    grammar.validate_subprotocols(())


@pytest.mark.parametrize(
    "subprotocols, exc_type, message",
    [
        ("chat", TypeError, "subprotocols must be a list, not a str"),
        (42, TypeError, "subprotocols must be a list"),
        ({"chat"}, TypeError, "subprotocols must be a list"),
        (["a b"], ValueError, "invalid subprotocol: a b"),
        ([""], ValueError, "invalid subprotocol: "),
        (["a,b"], ValueError, "invalid subprotocol: a,b"),
    ],
)
def test_invalid_subprotocols(subprotocols: Any, exc_type: Any, message: str) -> None:
    with pytest.raises(exc_type) as raised:
        grammar.validate_subprotocols(subprotocols)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    "value, expected",
    [
        ("localhost", ("localhost", None)),
        ("localhost:8765", ("localhost", 8765)),
        ("localhost:", ("localhost", None)),
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]", ("::1", None)),
        ("[::1]:8765", ("::1", 8765)),
        ("under_score", ("under_score", None)),
        # RFC 9112, section 3.2: a client without a host sends it empty.
        ("", ("", None)),
    ],
)
def test_parse_host(value: str, expected: Any) -> None:
    assert grammar.parse_host(value) == expected


@pytest.mark.parametrize(
    "value", ["a b", "a/b", "user@a", "a:port", "a:1:2", "::1", "[::1", "a:123456", "é", "a\\b"]
)
def test_invalid_host(value: str) -> None:
    with pytest.raises(InvalidHeaderFormat, match="invalid Host header: expected host at"):
        grammar.parse_host(value)


@pytest.mark.parametrize(
    "host, port, secure, expected",
    [
        ("localhost", 80, False, "localhost"),
        ("localhost", 443, False, "localhost:443"),
        ("localhost", 443, True, "localhost"),
        ("localhost", 80, True, "localhost:80"),
        ("127.0.0.1", 8765, False, "127.0.0.1:8765"),
        ("::1", 80, False, "[::1]"),
        ("::1", 8765, True, "[::1]:8765"),
        ("fe80::1%eth0", 80, False, "[fe80::1]"),
    ],
)
def test_build_host(host: str, port: int, secure: bool, expected: str) -> None:
    assert grammar.build_host(host, port, secure) == expected


def test_build_host_with_default_port() -> None:
    assert grammar.build_host("h", 443, True, always_include_port=True) == "h:443"


def test_www_authenticate() -> None:
    header = grammar.build_www_authenticate_basic('the "realm"\\')
    assert header == r'Basic realm="the \"realm\"\\", charset="UTF-8"'


@pytest.mark.parametrize(
    "username, password",
    [("user", "pass"), ("user", "p:w"), ("", ""), ("usér", "päss€"), ("\udcff", "")],
)
def test_authorization(username: str, password: str) -> None:
    header = grammar.build_authorization_basic(username, password)
    assert grammar.parse_authorization_basic(header) == (username, password)


def test_authorization_of_rfc_7617() -> None:
    header = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert grammar.build_authorization_basic("Aladdin", "open sesame") == header
    assert grammar.parse_authorization_basic(header.replace("Basic", "BASIC"))[0] == "Aladdin"


def test_username_with_colon() -> None:
    with pytest.raises(ValueError, match="colon"):
        grammar.build_authorization_basic("us:er", "pass")


@pytest.mark.parametrize(
    "value, exc_type, message",
    [
        ("Bearer abc", InvalidHeaderValue, "unsupported scheme: Bearer"),
        ("Basic", InvalidHeaderFormat, "expected space after scheme at 5 in Basic"),
        ("Basic\tYQ==", InvalidHeaderFormat, "expected space after scheme at 5 in"),
        ("Basic ", InvalidHeaderFormat, "expected token68 at 6 in Basic "),
        ("Basic ****", InvalidHeaderFormat, "expected token68 at 6 in"),
        ("Basic YTpi YQ==", InvalidHeaderFormat, "trailing data at 11 in"),
        ("Basic a", InvalidHeaderValue, "expected base64-encoded credentials"),
        ("Basic _-~.", InvalidHeaderValue, "expected base64-encoded credentials"),
        ("Basic YWJj", InvalidHeaderValue, "expected username:password credentials"),
        ("", InvalidHeaderFormat, "expected token at 0 in "),
    ],
)
def test_invalid_authorization(value: str, exc_type: type[Exception], message: str) -> None:
    with pytest.raises(exc_type) as raised:
        grammar.parse_authorization_basic(value)
    assert f"invalid Authorization header: {message}" in str(raised.value)


def test_generate_key() -> None:
    keys = {grammar.generate_key() for _ in range(8)}
    assert len(keys) == 8
    assert all(len(base64.b64decode(key, validate=True)) == 16 for key in keys)


def test_accept_key_of_rfc_6455() -> None:
    assert grammar.accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_single_value() -> None:
    headers = Headers([("A", "1"), ("B", "1"), ("b", "2")])
    assert grammar.single_value(headers, "a") == "1"
    with pytest.raises(InvalidHeader, match="^invalid B header: multiple values$"):
        grammar.single_value(headers, "B")
    with pytest.raises(InvalidHeader, match="^missing C header$"):
        grammar.single_value(headers, "C")


@pytest.mark.parametrize(
    "items",
    [
        [("Connection", "Upgrade"), ("Upgrade", "websocket")],
        [("connection", "keep-alive, upgrade"), ("upgrade", "WebSocket")],
        [("Connection", "keep-alive"), ("Connection", "UPGRADE"), ("Upgrade", "WEBSOCKET")],
    ],
)
def test_check_upgrade(items: list[tuple[str, str]]) -> None:
    grammar.check_upgrade(Headers(items))


@pytest.mark.parametrize(
    "items, message",
    [
        ([("Upgrade", "websocket")], "missing Connection header"),
        (
            [("Connection", "keep-alive"), ("Upgrade", "websocket")],
            "invalid Connection header: keep-alive",
        ),
        ([("Connection", "Upgrade")], "missing Upgrade header"),
        ([("Connection", "Upgrade"), ("Upgrade", "h2c")], "invalid Upgrade header: h2c"),
        (
            [("Connection", "Upgrade"), ("Upgrade", "h2c"), ("Upgrade", "websocket")],
            "invalid Upgrade header: h2c, websocket",
        ),
    ],
)
def test_check_upgrade_fails(items: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(InvalidUpgrade) as raised:
        grammar.check_upgrade(Headers(items))
    assert str(raised.value) == message
