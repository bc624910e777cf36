"""Tests of geventws.core.server_handshake."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.uri import parse_uri as websockets_parse_uri

from geventws.core.client_handshake import ClientHandshake
from geventws.core.exceptions import (
    HeaderLineTooLong,
    InvalidHandshake,
    InvalidHeader,
    InvalidMessage,
    InvalidOrigin,
    InvalidParameterName,
    NegotiationError,
    RequestLineTooLong,
    SecurityError,
    TooManyHeaders,
)
from geventws.core.extensions import (
    ClientExtensionFactory,
    Extension,
    ExtensionParameters,
    ServerExtensionFactory,
)
from geventws.core.headers import Headers
from geventws.core.http11 import (
    Request,
    RequestReader,
    Response,
    ResponseReader,
)
from geventws.core.server_handshake import ServerHandshake, log_label, plain_response
from geventws.core.uri import parse_uri

DATE = "Fri, 21 Nov 2025 10:00:00 GMT"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def make_request(
    changes: dict[str, str | None | list[str]] | None = None, **kwargs: str
) -> Request:
    """Make a good request, then change it."""
    values: dict[str, Any] = {
        "Host": "example.com",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        **(changes or {}),
    }
    headers = Headers()
    for name, value in values.items():
        for each in [value] if isinstance(value, str) else value or []:
            headers[name] = each
    return Request("/chat", headers, **kwargs)


def failure(handshake: ServerHandshake, request: Request) -> Exception:
    """Return why a request is not accepted."""
    with pytest.raises(Exception) as raised:
        handshake.accept(request, date=DATE)
    return raised.value


class Named(Extension):
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Factory(ServerExtensionFactory):
    """Accepts an extension with exactly the parameters it is told, and answers with others."""

    __slots__ = ("answer", "name", "params", "seen")

    def __init__(
        self,
        name: str,
        params: ExtensionParameters | None = None,
        answer: ExtensionParameters | None = None,
    ) -> None:
        self.name = name
        self.params = params or []
        self.answer = answer or []
        self.seen: list[Any] = []

    def process_request_params(
        self, params: ExtensionParameters, accepted: Any
    ) -> tuple[ExtensionParameters, Extension]:
        self.seen.append([extension.name for extension in accepted])
        if params != self.params:
            raise InvalidParameterName("no")
        return self.answer, Named(self.name)


# Accepting


def test_accept() -> None:
    accepted = ServerHandshake().accept(make_request(), date=DATE, server_header="mine")
    assert accepted.response == Response(
        101,
        "Switching Protocols",
        Headers(
            [
                ("Date", DATE),
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
                ("Sec-WebSocket-Accept", ACCEPT),
                ("Server", "mine"),
            ]
        ),
    )
    assert accepted.extensions == []
    assert accepted.subprotocol is None


def test_order_of_headers() -> None:
    handshake = ServerHandshake(extensions=[Factory("x-a")], subprotocols=["chat"])
    request = make_request({"Sec-WebSocket-Extensions": "x-a", "Sec-WebSocket-Protocol": "chat"})
    accepted = handshake.accept(request, date=DATE, server_header="mine")
    assert list(accepted.response.headers.raw_items()) == [
        ("Date", DATE),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", ACCEPT),
        ("Sec-WebSocket-Extensions", "x-a"),
        ("Sec-WebSocket-Protocol", "chat"),
        ("Server", "mine"),
    ]


def test_no_server_header_without_a_name() -> None:
    accepted = ServerHandshake().accept(make_request(), date=DATE)
    assert "Server" not in accepted.response.headers


def test_process_request() -> None:
    headers, extensions, subprotocol = ServerHandshake().process_request(make_request())
    assert list(headers) == ["upgrade", "connection", "sec-websocket-accept"]
    assert (extensions, subprotocol) == ([], None)


@pytest.mark.parametrize(
    "changes",
    [
        {"Connection": "keep-alive, Upgrade"},
        {"Connection": ["keep-alive", "upgrade"]},
        {"Upgrade": "WebSocket"},
        {"Host": ""},
        {"Host": "[::1]:8765"},
        {"Origin": "http://anywhere"},
        {"Sec-WebSocket-Extensions": "x-unknown; a=b"},
        {"Sec-WebSocket-Protocol": "a, b"},
    ],
)
def test_other_good_requests(changes: Any) -> None:
    accepted = ServerHandshake().accept(make_request(changes), date=DATE)
    assert accepted.response.status_code == 101
    assert accepted[1:] == ([], None)


# Refusing

UPGRADE = {"Upgrade": "websocket"}
VERSION = {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
HINT = (
    "\nYou cannot access a WebSocket server directly with a browser. You need a WebSocket client.\n"
)

# What is wrong, the status, headers, the reason, the label in the log.
REFUSED: list[tuple[Request, int, dict[str, str], str, str]] = [
    (
        make_request({"Connection": None}),
        426,
        UPGRADE,
        "missing Connection header",
        "invalid upgrade",
    ),
    (
        make_request({"Connection": "keep-alive"}),
        426,
        UPGRADE,
        "invalid Connection header: keep-alive",
        "invalid upgrade",
    ),
    (make_request({"Upgrade": None}), 426, UPGRADE, "missing Upgrade header", "invalid upgrade"),
    (
        make_request({"Upgrade": "h2c"}),
        426,
        UPGRADE,
        "invalid Upgrade header: h2c",
        "invalid upgrade",
    ),
    *[
        (
            make_request(method=method),
            405,
            {"Allow": "GET"},
            f"unsupported HTTP method: {method}",
            "invalid method",
        )
        for method in ["POST", "HEAD", "OPTIONS", "get"]
    ],
    (
        make_request(protocol="HTTP/1.0"),
        505,
        {},
        "unsupported HTTP version: HTTP/1.0",
        "invalid protocol",
    ),
    (make_request({"Host": None}), 400, {}, "missing Host header", "invalid handshake"),
    (
        make_request({"Host": ["a", "a"]}),
        400,
        {},
        "invalid Host header: multiple values",
        "invalid handshake",
    ),
    (
        make_request({"Host": "a b"}),
        400,
        {},
        "invalid Host header: expected host at 1 in a b",
        "invalid handshake",
    ),
    (
        make_request({"Sec-WebSocket-Key": None}),
        400,
        {},
        "missing Sec-WebSocket-Key header",
        "invalid handshake",
    ),
    (
        make_request({"Sec-WebSocket-Key": "not!base64"}),
        400,
        {},
        "invalid Sec-WebSocket-Key header: not!base64; Only base64 data is allowed",
        "invalid handshake",
    ),
    (
        make_request({"Sec-WebSocket-Key": "é"}),
        400,
        {},
        "invalid Sec-WebSocket-Key header: é; string argument should contain only ASCII characters",
        "invalid handshake",
    ),
    (
        make_request({"Sec-WebSocket-Key": "Zm9v"}),
        400,
        {},
        "invalid Sec-WebSocket-Key header: Zm9v",
        "invalid handshake",
    ),
    (
        make_request({"Sec-WebSocket-Key": [KEY, KEY]}),
        400,
        {},
        "invalid Sec-WebSocket-Key header: multiple values",
        "invalid handshake",
    ),
    (
        make_request({"Sec-WebSocket-Version": None}),
        426,
        VERSION,
        "missing Sec-WebSocket-Version header",
        "invalid handshake",
    ),
    (
        make_request({"Sec-WebSocket-Version": "8"}),
        426,
        VERSION,
        "invalid Sec-WebSocket-Version header: 8",
        "invalid handshake",
    ),
    (
        make_request({"Sec-WebSocket-Version": ["13", "13"]}),
        426,
        VERSION,
        "invalid Sec-WebSocket-Version header: multiple values",
        "invalid handshake",
    ),
    (
        make_request({"Origin": "http://evil"}),
        403,
        {},
        "invalid Origin header: http://evil",
        "invalid origin",
    ),
    (make_request({"Origin": None}), 403, {}, "missing Origin header", "invalid origin"),
    (
        make_request({"Origin": ["http://good", "http://good"]}),
        400,
        {},
        "invalid Origin header: multiple values",
        "invalid handshake",
    ),
    (
        make_request({"Origin": "http://good"}),
        400,
        {},
        "missing subprotocol",
        "invalid handshake",
    ),
    (
        make_request({"Origin": "http://good", "Sec-WebSocket-Protocol": "mqtt, CHAT"}),
        400,
        {},
        "invalid subprotocol; expected one of chat, x",
        "invalid handshake",
    ),
    (
        make_request({"Connection": "a b"}),
        400,
        {},
        "invalid Connection header: expected comma at 2 in a b",
        "invalid handshake",
    ),
    (
        make_request(
            {"Origin": "http://good", "Sec-WebSocket-Extensions": "permessage-deflate; ="}
        ),
        400,
        {},
        "invalid Sec-WebSocket-Extensions header: expected token at 20 in permessage-deflate; =",
        "invalid handshake",
    ),
    (
        make_request({"Origin": "http://good", "Sec-WebSocket-Protocol": "chat,=", "X": "1"}),
        400,
        {},
        "invalid Sec-WebSocket-Protocol header: expected token at 5 in chat,=",
        "invalid handshake",
    ),
]


@pytest.mark.parametrize("request_, status, extra, reason, label", REFUSED)
def test_refused(
    request_: Request, status: int, extra: dict[str, str], reason: str, label: str
) -> None:
    handshake = ServerHandshake(origins=["http://good"], subprotocols=["chat", "x"])
    exc = failure(handshake, request_)
    assert isinstance(exc, InvalidHandshake)
    assert log_label(exc) == label
    response = handshake.refuse(exc, date=DATE, server_header="mine")
    body = f"Failed to open a WebSocket connection: {reason}.\n"
    if label == "invalid upgrade":
        body += HINT
    assert response.body.decode() == body
    assert (response.status_code, response.reason_phrase) == (status, HTTPStatus(status).phrase)
    assert list(response.headers.raw_items()) == [
        ("Date", DATE),
        ("Connection", "close"),
        ("Content-Length", str(len(body.encode()))),
        ("Content-Type", "text/plain; charset=utf-8"),
        *extra.items(),
        ("Server", "mine"),
    ]


def test_order_of_checks() -> None:
    """Mend a request that has everything wrong, one thing after the other."""
    wrong: dict[str, str | None | list[str]] = {
        "Host": None,
        "Connection": None,
        "Upgrade": None,
        "Sec-WebSocket-Key": None,
        "Sec-WebSocket-Version": None,
        "Origin": None,
        "Sec-WebSocket-Extensions": "=",
        "Sec-WebSocket-Protocol": None,
    }
    right = {
        "Host": "h",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        "Origin": "http://good",
        "Sec-WebSocket-Extensions": "x",
        "Sec-WebSocket-Protocol": "chat",
    }
    handshake = ServerHandshake(origins=["http://good"], subprotocols=["chat"])
    seen = [str(failure(handshake, make_request(wrong, method="PUT", protocol="HTTP/1.0")))]
    seen.append(str(failure(handshake, make_request(wrong, protocol="HTTP/1.0"))))
    for name, value in right.items():
        seen.append(str(failure(handshake, make_request(wrong))))
        wrong[name] = value
    handshake.accept(make_request(wrong), date=DATE)
    words = "method version Host Connection Upgrade Key Version Origin Extensions subprotocol"
    assert len(seen) == len(words.split())
    for text, word in zip(seen, words.split(), strict=True):
        assert word in text


@pytest.mark.parametrize(
    "exc, status, reason, label",
    [
        (RequestLineTooLong("read 9 bytes"), 414, "read 9 bytes", "request line too long"),
        (HeaderLineTooLong("read 9 bytes"), 431, "read 9 bytes", "header fields too large"),
        (TooManyHeaders("too many"), 431, "too many", "header fields too large"),
        (SecurityError("no"), 400, "no", "invalid handshake"),
        (InvalidOrigin("http://é"), 403, "invalid Origin header: http://é", "invalid origin"),
        (InvalidHeader("X", ""), 400, "empty X header", "invalid handshake"),
    ],
)
def test_refused_before_there_is_a_request(
    exc: Exception, status: int, reason: str, label: str
) -> None:
    response = ServerHandshake().refuse(exc, date=DATE, server_header="mine")
    assert response.status_code == status
    assert response.body.decode() == f"Failed to open a WebSocket connection: {reason}.\n"
    assert response.headers["Server"] == "mine"
    assert log_label(exc) == label


def test_refused_malformed_request() -> None:
    head = RequestReader().receive_data(b"GET / HTTP/1.1\r\nHost : h\r\n\r\n")
    assert head is not None
    with pytest.raises(InvalidMessage) as raised:
        Request.parse(head)
    response = ServerHandshake().refuse(raised.value, date=DATE)
    assert response.status_code == 400
    assert response.body == (
        b"Failed to open a WebSocket connection: "
        b"did not receive a valid HTTP request; invalid HTTP header name: Host .\n"
    )
    assert "Server" not in response.headers
    assert log_label(raised.value) == "no valid HTTP request"


@pytest.mark.parametrize("exc", [RuntimeError("secret"), KeyError("secret"), ValueError("secret")])
def test_errors_of_ours_are_not_shown(exc: Exception) -> None:
    response = ServerHandshake().refuse(exc, date=DATE)
    assert (response.status_code, response.reason_phrase) == (500, "Internal Server Error")
    assert response.body == (
        b"Failed to open a WebSocket connection.\nSee server log for more information.\n"
    )
    assert log_label(exc) == "invalid handshake"


def test_label_of_a_port_scan() -> None:
    assert log_label(RequestReader().eof()) == "no valid HTTP request"


@pytest.mark.parametrize("status", [200, HTTPStatus.OK])
def test_plain_response(status: int | HTTPStatus) -> None:
    response = plain_response(status, "héllo\n", date=DATE)
    assert response.serialize() == (
        b"HTTP/1.1 200 OK\r\n"
        b"Date: " + DATE.encode() + b"\r\n"
        b"Connection: close\r\n"
        b"Content-Length: 7\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"\r\n"
        b"h\xc3\xa9llo\n"
    )


def test_plain_response_with_server() -> None:
    response = plain_response(503, "", date=DATE, server_header="mine")
    assert response.headers["Server"] == "mine"
    assert response.headers["Content-Length"] == "0"


def test_plain_response_with_unknown_status() -> None:
    with pytest.raises(ValueError, match="599"):
        plain_response(599, "", date=DATE)


# Origins

EXAMPLE = re.compile(r"https://.*\.example\.com")


@pytest.mark.parametrize(
    "origins, origin, accepted",
    [
        (None, None, True),
        (None, "http://any", True),
        ([], "http://any", False),
        (["http://a", "http://b"], "http://b", True),
        (["http://a"], "http://A", False),
        (["http://a"], "http://a.evil", False),
        (["http://a"], None, False),
        (["http://a", None], None, True),
        ([None], "http://a", False),
        ([EXAMPLE], "https://www.example.com", True),
        ([EXAMPLE], "https://www.example.com.evil", False),
        ([EXAMPLE], "evil https://www.example.com", False),
        ([EXAMPLE], None, False),
        (["http://a", EXAMPLE, None], None, True),
    ],
)
def test_origins(origins: Any, origin: str | None, accepted: bool) -> None:
    handshake = ServerHandshake(origins=origins)
    request = make_request({"Origin": origin})
    if accepted:
        handshake.accept(request, date=DATE)
    else:
        assert isinstance(failure(handshake, request), InvalidOrigin)


def test_origins_must_be_a_list() -> None:
    with pytest.raises(TypeError, match="^origins must be a list, not a str$"):
        ServerHandshake(origins="http://a")


# Extensions


@pytest.mark.parametrize(
    "header, answer, names",
    [
        (None, None, []),
        ("x-unknown", None, []),
        ("x-a", None, []),
        ("x-a; p", "x-a; q=1", ["x-a"]),
        ("x-a; p=2, x-a; p", "x-a; q=1", ["x-a"]),
        ("x-b, x-unknown, x-a; p", "x-b, x-a; q=1", ["x-b", "x-a"]),
        (["x-a; p", "x-b"], "x-a; q=1, x-b", ["x-a", "x-b"]),
        ("x-a; r", "x-a; s", ["x-a"]),
    ],
)
def test_extensions(header: Any, answer: str | None, names: list[str]) -> None:
    factories = [
        Factory("x-a", [("p", None)], [("q", "1")]),
        Factory("x-a", [("r", None)], [("s", None)]),
        Factory("x-b"),
    ]
    request = make_request({"Sec-WebSocket-Extensions": header})
    accepted = ServerHandshake(extensions=factories).accept(request, date=DATE)
    assert accepted.response.headers.get("Sec-WebSocket-Extensions") == answer
    assert [extension.name for extension in accepted.extensions] == names


def test_factory_sees_what_was_accepted_before() -> None:
    factories = [Factory("x-a"), Factory("x-b")]
    request = make_request({"Sec-WebSocket-Extensions": "x-b, x-a"})
    ServerHandshake(extensions=factories).accept(request, date=DATE)
    assert [factory.seen for factory in factories] == [[["x-b"]], [[]]]


def test_malformed_extensions_are_refused_even_without_any() -> None:
    request = make_request({"Sec-WebSocket-Extensions": "a b"})
    assert "expected comma" in str(failure(ServerHandshake(), request))


# Subprotocols


@pytest.mark.parametrize(
    "ours, offered, selected",
    [
        (None, "chat", None),
        ([], "chat", None),
        (["a", "b"], "b, a", "a"),
        (["a", "b"], "c, b", "b"),
        (["a", "b"], ["c", "b"], "b"),
    ],
)
def test_subprotocol(ours: Any, offered: Any, selected: str | None) -> None:
    request = make_request({"Sec-WebSocket-Protocol": offered})
    accepted = ServerHandshake(subprotocols=ours).accept(request, date=DATE)
    assert accepted.subprotocol == selected
    assert accepted.response.headers.get("Sec-WebSocket-Protocol") == selected


@pytest.mark.parametrize(
    "offered, selected", [("a, b", "b"), ("a", None), (None, None), ("b", "b")]
)
def test_select_subprotocol(offered: str | None, selected: str | None) -> None:
    handshake = ServerHandshake(
        subprotocols=["a"], select_subprotocol=lambda names: "b" if "b" in names else None
    )
    request = make_request({"Sec-WebSocket-Protocol": offered})
    assert handshake.accept(request, date=DATE).subprotocol == selected


def test_select_subprotocol_refuses() -> None:
    def select(names: Any) -> str | None:
        raise NegotiationError(f"none of {', '.join(names)}")

    handshake = ServerHandshake(select_subprotocol=select)
    exc = failure(handshake, make_request({"Sec-WebSocket-Protocol": "a, b"}))
    response = handshake.refuse(exc, date=DATE)
    assert response.status_code == 400
    assert b"none of a, b." in response.body


def test_select_subprotocol_crashes() -> None:
    def select(names: Any) -> str | None:
        raise RuntimeError("oops")

    handshake = ServerHandshake(select_subprotocol=select)
    exc = failure(handshake, make_request())
    assert isinstance(exc, RuntimeError)
    assert handshake.refuse(exc, date=DATE).status_code == 500


def test_select_subprotocol_must_choose_what_was_offered() -> None:
    handshake = ServerHandshake(select_subprotocol=lambda names: "c")
    exc = failure(handshake, make_request({"Sec-WebSocket-Protocol": "a, b"}))
    assert isinstance(exc, ValueError)
    assert "select_subprotocol returned 'c'; return None or one of ['a', 'b']" in str(exc)


def test_subprotocols_must_be_a_list() -> None:
    with pytest.raises(TypeError, match="^subprotocols must be a list, not a str$"):
        ServerHandshake(subprotocols="chat")


# Both halves, back to back


class ClientFactory(ClientExtensionFactory):
    name = "x-a"

    def get_request_params(self) -> ExtensionParameters:
        return [("p", None)]

    def process_response_params(self, params: ExtensionParameters, accepted: Any) -> Extension:
        if params != [("q", "1")]:
            raise InvalidParameterName("no")
        return Named("x-a")


@pytest.mark.parametrize("size", [1, 10, 10_000])
def test_back_to_back(size: int) -> None:
    client = ClientHandshake(
        parse_uri("ws://user:pass@[::1]:8765/é"),
        origin="http://localhost",
        extensions=[ClientFactory()],
        subprotocols=["b", "a"],
    )
    server = ServerHandshake(
        origins=["http://localhost"],
        extensions=[Factory("x-a", [("p", None)], [("q", "1")])],
        subprotocols=["a", "b"],
    )
    data = client.request({"X-Extra": "1"}).serialize() + b"early"
    request_reader = RequestReader()
    head = None
    while head is None:
        head = request_reader.receive_data(data[:size])
        data = data[size:]
    assert request_reader.leftover + data == b"early"
    accepted = server.accept(Request.parse(head), date=DATE)
    assert [extension.name for extension in accepted.extensions] == ["x-a"]
    assert accepted.subprotocol == "a"

    data = accepted.response.serialize() + b"frames"
    response_reader = ResponseReader()
    response = None
    while response is None:
        response = response_reader.receive_data(data[:size])
        data = data[size:]
    assert response_reader.leftover + data == b"frames"
    assert response == accepted.response
    extensions, subprotocol = client.process_response(response)
    assert [extension.name for extension in extensions] == ["x-a"]
    assert subprotocol == "a"


def test_refusal_back_to_back() -> None:
    client = ClientHandshake(parse_uri("ws://localhost/"))
    server = ServerHandshake(origins=["http://good"])
    exc = failure(server, client.request())
    response = ResponseReader().receive_data(server.refuse(exc, date=DATE).serialize())
    assert response is not None
    with pytest.raises(InvalidHandshake, match="HTTP 403"):
        client.process_response(response)
    assert response.body == b"Failed to open a WebSocket connection: missing Origin header.\n"


def test_with_websockets() -> None:
    client = ClientProtocol(websockets_parse_uri("ws://localhost/"), subprotocols=["chat"])  # type: ignore
    client.send_request(client.connect())
    head = RequestReader().receive_data(b"".join(client.data_to_send()))
    assert head is not None
    accepted = ServerHandshake(subprotocols=["chat"]).accept(Request.parse(head), date=DATE)
    client.receive_data(accepted.response.serialize())
    assert client.handshake_exc is None
    assert client.subprotocol == "chat"
