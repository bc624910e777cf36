"""Tests of geventws.core.client_handshake."""

from __future__ import annotations

from typing import Any

import pytest
from websockets.server import ServerProtocol

from geventws.core.client_handshake import ClientHandshake
from geventws.core.exceptions import (
    InvalidHeader,
    InvalidHeaderFormat,
    InvalidHeaderValue,
    InvalidParameterName,
    InvalidStatus,
    InvalidUpgrade,
    NegotiationError,
)
from geventws.core.extensions import (
    ClientExtensionFactory,
    Extension,
    ExtensionParameters,
)
from geventws.core.grammar import accept_key
from geventws.core.headers import Headers, MultipleValuesError
from geventws.core.http11 import Response, ResponseReader
from geventws.core.uri import parse_uri

URI = parse_uri("ws://example.com:8765/chat?x=1")


class Named(Extension):
    """An extension that remembers how it was negotiated."""

    __slots__ = ("name", "params")

    def __init__(self, name: str, params: ExtensionParameters) -> None:
        self.name = name
        self.params = params


class Factory(ClientExtensionFactory):
    """Offers an extension and accepts it with the parameters it is told."""

    __slots__ = ("accepts", "name", "params", "seen")

    def __init__(self, name: str, params: ExtensionParameters | None = None) -> None:
        self.name = name
        self.params = params or []
        self.seen: list[Any] = []

    def get_request_params(self) -> ExtensionParameters:
        return self.params

    def process_response_params(self, params: ExtensionParameters, accepted: Any) -> Extension:
        self.seen.append([extension.name for extension in accepted])
        if params != self.params:
            raise InvalidParameterName("no")
        return Named(self.name, params)


def request_headers(*args: Any, uri: str = "ws://h/", **kwargs: Any) -> list[tuple[str, str]]:
    request = ClientHandshake(parse_uri(uri), **kwargs).request(*args)
    return list(request.headers.raw_items())


def without(headers: list[tuple[str, str]], *names: str) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name not in names]


# The request


def test_request_with_everything() -> None:
    uri = parse_uri("wss://user:pass@example.com/chat?x=1")
    handshake = ClientHandshake(
        uri,
        origin="https://example.com",
        extensions=[Factory("x-a", [("p", None), ("q", "1")]), Factory("x-b")],
        subprotocols=["chat", "superchat"],
    )
    request = handshake.request([("X-Extra", "1"), ("X-Extra", "2")], "agent")
    assert request.method == "GET"
    assert request.path == "/chat?x=1"
    assert request.protocol == "HTTP/1.1"
    assert list(request.headers.raw_items()) == [
        ("Host", "example.com"),
        ("Authorization", "Basic dXNlcjpwYXNz"),
        ("Origin", "https://example.com"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", handshake.key),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Extensions", "x-a; p; q=1, x-b"),
        ("Sec-WebSocket-Protocol", "chat, superchat"),
        ("X-Extra", "1"),
        ("X-Extra", "2"),
        ("User-Agent", "agent"),
    ]


@pytest.mark.parametrize("nothing", [None, []])
def test_request_with_nothing(nothing: Any) -> None:
    headers = request_headers(nothing, None, extensions=nothing, subprotocols=nothing)
    assert [name for name, _ in headers] == [
        "Host",
        "Upgrade",
        "Connection",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
    ]


def test_user_agent() -> None:
    assert request_headers((), "mine")[-1] == ("User-Agent", "mine")


def test_each_handshake_has_its_key() -> None:
    assert ClientHandshake(URI).key != ClientHandshake(URI).key


@pytest.mark.parametrize(
    "name, ours",
    [
        ("Host", "example.com"),
        ("Authorization", "Basic dXNlcjpwYXNz"),
        ("Origin", "http://example.com"),
    ],
)
def test_additional_header_replaces_ours(name: str, ours: str) -> None:
    def headers(*additional: Any) -> list[tuple[str, str]]:
        uri = "ws://user:pass@example.com/"
        return request_headers(*additional, uri=uri, origin="http://example.com")

    normal = without(headers(), "Sec-WebSocket-Key")
    assert (name, ours) in normal
    replaced = without(headers({name.lower(): "theirs"}), "Sec-WebSocket-Key")
    expected = [(name, "theirs") if header == (name, ours) else header for header in normal]
    assert replaced == expected


def test_additional_header_adds_what_we_have_not() -> None:
    headers = request_headers([("Origin", "http://o"), ("Authorization", "Bearer x")])
    assert headers[:3] == [("Host", "h"), ("Authorization", "Bearer x"), ("Origin", "http://o")]
    assert len(headers) == 7


def test_user_agent_in_additional_headers() -> None:
    headers = request_headers({"user-agent": "mine", "X-Extra": "1"})
    assert headers[-2:] == [("user-agent", "mine"), ("X-Extra", "1")]


def test_header_that_cannot_be_there_twice() -> None:
    with pytest.raises(MultipleValuesError, match="Host is there several times"):
        request_headers([("Host", "a"), ("Host", "b")])


def test_additional_headers_are_not_changed() -> None:
    additional = Headers(Host="mine", Other="1")
    request_headers(additional)
    assert additional == Headers(Host="mine", Other="1")


@pytest.mark.parametrize(
    "kwargs, args",
    [
        ({"origin": "http://a\r\nX: y"}, ()),
        ({}, ({"X": "a\r\nX: y"},)),
        ({}, ({"X\r\n": "a"},)),
        ({}, (None, "agent\n")),
    ],
)
def test_header_injection(kwargs: Any, args: Any) -> None:
    with pytest.raises(ValueError, match="invalid (value for header|header name)"):
        request_headers(*args, **kwargs)


def test_subprotocols_must_be_a_list() -> None:
    with pytest.raises(TypeError, match="^subprotocols must be a list, not a str$"):
        ClientHandshake(URI, subprotocols="chat")
    with pytest.raises(ValueError, match="^invalid subprotocol: a b$"):
        ClientHandshake(URI, subprotocols=["a b"])


# The response


def respond(
    handshake: ClientHandshake, changes: dict[str, str | None | list[str]], status: int = 101
) -> Response:
    """Make the right response, then change it."""
    values: dict[str, Any] = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": accept_key(handshake.key),
        **changes,
    }
    headers = Headers()
    for name, value in values.items():
        for each in [value] if isinstance(value, str) else value or []:
            headers[name] = each
    return Response(status, "", headers)


def test_response() -> None:
    handshake = ClientHandshake(URI, extensions=[Factory("x-a")], subprotocols=["chat"])
    assert handshake.process_response(respond(handshake, {})) == ([], None)


@pytest.mark.parametrize(
    "changes",
    [{"Upgrade": "WebSocket"}, {"Connection": "keep-alive, upgrade"}, {"X-Other": "1"}],
)
def test_other_good_responses(changes: Any) -> None:
    handshake = ClientHandshake(URI)
    assert handshake.process_response(respond(handshake, changes)) == ([], None)


@pytest.mark.parametrize(
    "changes, exc_type, message",
    [
        ({"Connection": None}, InvalidUpgrade, "missing Connection header"),
        ({"Connection": "close"}, InvalidUpgrade, "invalid Connection header: close"),
        (
            {"Connection": "a b"},
            InvalidHeaderFormat,
            "invalid Connection header: expected comma at 2 in a b",
        ),
        ({"Upgrade": None}, InvalidUpgrade, "missing Upgrade header"),
        ({"Upgrade": "h2c"}, InvalidUpgrade, "invalid Upgrade header: h2c"),
        ({"Sec-WebSocket-Accept": None}, InvalidHeader, "missing Sec-WebSocket-Accept header"),
        (
            {"Sec-WebSocket-Accept": ["a", "b"]},
            InvalidHeader,
            "invalid Sec-WebSocket-Accept header: multiple values",
        ),
        (
            {"Sec-WebSocket-Accept": "AAAA"},
            InvalidHeaderValue,
            "invalid Sec-WebSocket-Accept header: AAAA",
        ),
        ({"Sec-WebSocket-Extensions": "x-foo"}, NegotiationError, "no extensions supported"),
        ({"Sec-WebSocket-Protocol": "chat"}, NegotiationError, "no subprotocols supported"),
    ],
)
def test_bad_response(changes: Any, exc_type: type[Exception], message: str) -> None:
    handshake = ClientHandshake(URI)
    with pytest.raises(exc_type) as raised:
        handshake.process_response(respond(handshake, changes))
    assert type(raised.value) is exc_type
    assert str(raised.value) == message


@pytest.mark.parametrize("status", [100, 200, 301, 404, 503])
def test_other_status(status: int) -> None:
    handshake = ClientHandshake(URI)
    response = respond(handshake, {}, status)
    with pytest.raises(InvalidStatus) as raised:
        handshake.process_response(response)
    assert raised.value.response is response
    assert str(raised.value) == f"server rejected WebSocket connection: HTTP {status}"


@pytest.mark.parametrize(
    "header, message",
    [
        ("x-foo", "Unsupported extension: name = x-foo, params = []"),
        ("x-a", "Unsupported extension: name = x-a, params = []"),
        ("x-a; p=2", "Unsupported extension: name = x-a, params = [('p', '2')]"),
        ("x-a; =", "invalid Sec-WebSocket-Extensions header: expected token at 5 in x-a; ="),
        ("", "invalid Sec-WebSocket-Extensions header: expected token at 0 in "),
    ],
)
def test_extension_that_was_not_offered(header: str, message: str) -> None:
    handshake = ClientHandshake(URI, extensions=[Factory("x-a", [("p", "1")])])
    with pytest.raises((NegotiationError, InvalidHeaderFormat)) as raised:
        handshake.process_response(respond(handshake, {"Sec-WebSocket-Extensions": header}))
    assert str(raised.value) == message


def test_cause_of_an_unsupported_extension() -> None:
    handshake = ClientHandshake(URI, extensions=[Factory("x-a", [("p", "1")])])
    with pytest.raises(NegotiationError) as raised:
        handshake.process_response(respond(handshake, {"Sec-WebSocket-Extensions": "x-a"}))
    assert isinstance(raised.value.__cause__, InvalidParameterName)


@pytest.mark.parametrize("header", ["x-a; p=1, x-b", ["x-a; p=1", "x-b"]])
def test_extensions_are_accepted_in_the_order_of_the_response(header: Any) -> None:
    factories = [Factory("x-b"), Factory("x-a"), Factory("x-a", [("p", "1")])]
    handshake = ClientHandshake(URI, extensions=factories)
    response = respond(handshake, {"Sec-WebSocket-Extensions": header})
    extensions, _ = handshake.process_response(response)
    assert [extension.name for extension in extensions] == ["x-a", "x-b"]
    # The second factory declines the first extension, the third takes it.
    assert [factory.seen for factory in factories] == [[["x-a"]], [[]], [[]]]


@pytest.mark.parametrize("subprotocol", ["chat", "superchat"])
def test_subprotocol(subprotocol: str) -> None:
    handshake = ClientHandshake(URI, subprotocols=["superchat", "chat"])
    response = respond(handshake, {"Sec-WebSocket-Protocol": subprotocol})
    assert handshake.process_response(response) == ([], subprotocol)


@pytest.mark.parametrize(
    "header, exc_type, message",
    [
        ("chat", NegotiationError, "unsupported subprotocol: chat"),
        ("X", NegotiationError, "unsupported subprotocol: X"),
        (
            "chat, x",
            InvalidHeader,
            "invalid Sec-WebSocket-Protocol header: multiple values: chat, x",
        ),
        (
            ["chat", "x"],
            InvalidHeader,
            "invalid Sec-WebSocket-Protocol header: multiple values: chat, x",
        ),
        (
            "",
            InvalidHeaderFormat,
            "invalid Sec-WebSocket-Protocol header: expected token at 0 in ",
        ),
    ],
)
def test_subprotocol_that_was_not_offered(
    header: Any, exc_type: type[Exception], message: str
) -> None:
    handshake = ClientHandshake(URI, subprotocols=["x"])
    with pytest.raises(exc_type) as raised:
        handshake.process_response(respond(handshake, {"Sec-WebSocket-Protocol": header}))
    assert str(raised.value) == message


# With another implementation


def test_with_websockets() -> None:
    handshake = ClientHandshake(URI, subprotocols=["chat"], origin="http://example.com")
    server = ServerProtocol(origins=["http://example.com"], subprotocols=["chat"])  # type: ignore
    server.receive_data(handshake.request().serialize())
    (request,) = server.events_received()
    server.send_response(server.accept(request))  # type: ignore[arg-type]
    reader = ResponseReader()
    response = reader.receive_data(b"".join(server.data_to_send()))
    assert response is not None
    assert handshake.process_response(response) == ([], "chat")


def test_refused_by_websockets() -> None:
    handshake = ClientHandshake(URI)
    server = ServerProtocol(subprotocols=["chat"])  # type: ignore[list-item]
    server.receive_data(handshake.request().serialize())
    (request,) = server.events_received()
    server.send_response(server.accept(request))  # type: ignore[arg-type]
    response = ResponseReader().receive_data(b"".join(server.data_to_send()))
    assert response is not None
    with pytest.raises(InvalidStatus, match="HTTP 400"):
        handshake.process_response(response)
    assert b"missing subprotocol" in response.body
