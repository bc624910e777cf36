"""The server's half of the opening handshake, through real sockets."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventws import (
    Headers,
    InvalidOrigin,
    InvalidStatus,
    NegotiationError,
    Opcode,
    Response,
    connect,
)
from geventws.net.products import SERVER
from geventws.net.server_connection import Phase
from geventws.testing import KEY, RawClient
from tests.net.support import (
    PATIENCE,
    client_tls,
    echo,
    get,
    pair,
    raw_client,
    server_tls,
    serving,
    until,
    uri_of,
)

HOST_LINE = b"Host: localhost\r\n"


def without(name: str) -> bytes:
    """A request without a header."""
    return re.sub(rf"{name}: .*\r\n".encode(), b"", RawClient.request())


def replaced(name: str, value: str) -> bytes:
    """A request with another value of a header."""
    return re.sub(rf"({name}): .*\r\n".encode(), rf"\1: {value}\r\n".encode(), RawClient.request())


def added(name: str, value: str) -> bytes:
    """A request with one header more."""
    return RawClient.request([(name, value)])


UPGRADE = {"Upgrade": "websocket"}
HINT = (
    "\nYou cannot access a WebSocket server directly with a browser. You need a WebSocket client.\n"
)
VERSION = {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
EXPECTED_LIST = "invalid Connection header: expected comma at 2 in a b"


@pytest.mark.parametrize(
    "request_bytes, options, status, headers, why, label",
    [
        (without("Connection"), {}, 426, UPGRADE, "missing Connection header", "invalid upgrade"),
        (
            replaced("Connection", "keep-alive"),
            {},
            426,
            UPGRADE,
            "invalid Connection header: keep-alive",
            "invalid upgrade",
        ),
        (without("Upgrade"), {}, 426, UPGRADE, "missing Upgrade header", "invalid upgrade"),
        (
            replaced("Upgrade", "h2c"),
            {},
            426,
            UPGRADE,
            "invalid Upgrade header: h2c",
            "invalid upgrade",
        ),
        (
            b"POST / HTTP/1.1\r\n" + HOST_LINE + b"\r\n",
            {},
            405,
            {"Allow": "GET"},
            "unsupported HTTP method: POST",
            "invalid method",
        ),
        (
            b"HEAD / HTTP/1.1\r\n" + HOST_LINE + b"\r\n",
            {},
            405,
            {"Allow": "GET"},
            "unsupported HTTP method: HEAD",
            "invalid method",
        ),
        (
            b"GET / HTTP/1.0\r\n" + HOST_LINE + b"\r\n",
            {},
            505,
            {},
            "unsupported HTTP version: HTTP/1.0",
            "invalid protocol",
        ),
        (without("Host"), {}, 400, {}, "missing Host header", "invalid handshake"),
        (
            added("Host", "other"),
            {},
            400,
            {},
            "invalid Host header: multiple values",
            "invalid handshake",
        ),
        (
            without("Sec-WebSocket-Key"),
            {},
            400,
            {},
            "missing Sec-WebSocket-Key header",
            "invalid handshake",
        ),
        (
            replaced("Sec-WebSocket-Key", "not!base64"),
            {},
            400,
            {},
            "invalid Sec-WebSocket-Key header: not!base64; Only base64 data is allowed",
            "invalid handshake",
        ),
        (
            replaced("Sec-WebSocket-Key", "Zm9v"),
            {},
            400,
            {},
            "invalid Sec-WebSocket-Key header: Zm9v",
            "invalid handshake",
        ),
        (
            added("Sec-WebSocket-Key", KEY),
            {},
            400,
            {},
            "invalid Sec-WebSocket-Key header: multiple values",
            "invalid handshake",
        ),
        (
            without("Sec-WebSocket-Version"),
            {},
            426,
            VERSION,
            "missing Sec-WebSocket-Version header",
            "invalid handshake",
        ),
        (
            replaced("Sec-WebSocket-Version", "8"),
            {},
            426,
            VERSION,
            "invalid Sec-WebSocket-Version header: 8",
            "invalid handshake",
        ),
        (
            added("Sec-WebSocket-Version", "13"),
            {},
            426,
            VERSION,
            "invalid Sec-WebSocket-Version header: multiple values",
            "invalid handshake",
        ),
        (
            added("Origin", "http://evil"),
            {"origins": ["http://good"]},
            403,
            {},
            "invalid Origin header: http://evil",
            "invalid origin",
        ),
        (
            RawClient.request(),
            {"origins": ["http://good"]},
            403,
            {},
            "missing Origin header",
            "invalid origin",
        ),
        (
            RawClient.request([("Origin", "http://good"), ("Origin", "http://good")]),
            {"origins": ["http://good"]},
            400,
            {},
            "invalid Origin header: multiple values",
            "invalid handshake",
        ),
        (
            RawClient.request(),
            {"subprotocols": ["chat"]},
            400,
            {},
            "missing subprotocol",
            "invalid handshake",
        ),
        (
            added("Sec-WebSocket-Protocol", "y, z"),
            {"subprotocols": ["chat", "x"]},
            400,
            {},
            "invalid subprotocol; expected one of chat, x",
            "invalid handshake",
        ),
        (replaced("Connection", "a b"), {}, 400, {}, EXPECTED_LIST, "invalid handshake"),
        (
            added("Sec-WebSocket-Extensions", "permessage-deflate; ="),
            {},
            400,
            {},
            "invalid Sec-WebSocket-Extensions header: "
            "expected token at 20 in permessage-deflate; =",
            "invalid handshake",
        ),
        (
            b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
            {},
            400,
            {},
            None,
            "no valid HTTP request",
        ),
        (
            b"GET /\xe9 HTTP/1.1\r\n" + HOST_LINE + b"\r\n",
            {},
            400,
            {},
            None,
            "no valid HTTP request",
        ),
        (
            b"GET / HTTP/1.1\r\n" + HOST_LINE + b"Content-Length: 3\r\n\r\nabc",
            {},
            400,
            {},
            None,
            "no valid HTTP request",
        ),
        (
            b"GET / HTTP/1.1\r\n" + HOST_LINE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            {},
            400,
            {},
            None,
            "no valid HTTP request",
        ),
        (
            b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n",
            {},
            414,
            {},
            None,
            "request line too long",
        ),
        (
            b"GET / HTTP/1.1\r\nA: " + b"a" * 9000 + b"\r\n",
            {},
            431,
            {},
            None,
            "header fields too large",
        ),
        (
            b"GET / HTTP/1.1\r\n" + b"A: a\r\n" * 129,
            {},
            431,
            {},
            "expected no more than 128 headers",
            "header fields too large",
        ),
    ],
)
def test_refused(
    request_bytes: bytes,
    options: dict[str, Any],
    status: int,
    headers: dict[str, str],
    why: str | None,
    label: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "geventws.server")
    with serving(echo, **options) as server, RawClient(server.address, open=False) as peer:
        peer.send_bytes(request_bytes)
        response = peer.recv_response()
        # The server waits for us: what we had sent unread must not turn its answer into a reset.
        assert peer.recv_eof()
    phrase = HTTPStatus(status).phrase
    assert (response.status_code, response.reason_phrase) == (status, phrase)
    for name, value in headers.items():
        assert response.headers[name] == value
    assert response.headers["Connection"] == "close"
    assert response.headers["Content-Length"] == str(len(response.body))
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Server"] == SERVER
    assert "Date" in response.headers
    body = response.body.decode()
    assert body.startswith("Failed to open a WebSocket connection: ")
    if why is not None:
        hint = HINT if label == "invalid upgrade" else ""
        assert body == f"Failed to open a WebSocket connection: {why}.\n{hint}"
    messages = [record.getMessage() for record in caplog.records]
    assert f"! {label}" in messages
    assert f"connection rejected ({status} {phrase})" in messages
    assert "connection closed" in messages


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\x02\x03",
        b"hello\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/2.0\r\n",
        b"GET /\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"a" * 9000,
    ],
    ids=[
        "bytes",
        "text",
        "HTTP/2 preface",
        "TLS",
        "HTTP/2.0",
        "HTTP/0.9",
        "SSH",
        "long line",
    ],
)
def test_silence_for_what_is_not_http(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "geventws.server")
    with serving(echo) as server, RawClient(server.address, open=False) as peer:
        peer.send_bytes(data)
        # At once, by the end of the stream or, where bytes were left unread, by a reset.
        answer = b""
        with gevent.Timeout(5):
            try:
                answer = peer.sock.recv(1000)
            except ConnectionResetError:
                pass
        assert answer == b""
        until(lambda: not server._roster.greenlets)
    assert [record.getMessage() for record in caplog.records][1:-2] == ["connection closed"]


def test_never_ending_head() -> None:
    with serving(echo, close_timeout=0.2) as server:
        with RawClient(server.address, open=False) as peer:
            # Answered at the limit; what follows is thrown away, for `close_timeout` at most.
            peer.send_bytes(b"GET / HTTP/1.1\r\n" + b"A: a\r\n" * 200)
            assert peer.recv_response().status_code == 431
            with pytest.raises(OSError), gevent.Timeout(PATIENCE):
                while True:
                    peer.send_bytes(b"A: a\r\n" * 1000)


@pytest.mark.parametrize("tls", [False, True])
def test_request_byte_by_byte(tls: bool) -> None:
    with serving(echo, ssl=server_tls() if tls else None) as server:
        with RawClient(server.address, open=False, ssl=client_tls() if tls else None) as peer:
            for byte in peer.request():
                peer.send_bytes(bytes([byte]))
                gevent.sleep(0)
            assert peer.recv_response().status_code == 101
            peer.send_frame(Opcode.TEXT, b"hello")
            frame = peer.recv_frame()
            assert frame is not None and frame.data == b"hello"


# Frames behind the request.


def received(ws: Any, messages: list[Any]) -> None:
    """A handler that keeps what it receives."""
    try:
        for message in ws:
            messages.append(message)
    finally:
        messages.append(ws.close_code)


@pytest.mark.parametrize("size", [1, 1000, 70_000])
@pytest.mark.parametrize("tls", [False, True])
def test_frames_behind_the_request(size: int, tls: bool) -> None:
    messages: list[Any] = []
    ssl = {"ssl": server_tls()} if tls else {}
    with serving(lambda ws: received(ws, messages), **ssl) as server:
        with RawClient(server.address, open=False, ssl=client_tls() if tls else None) as peer:
            first, second = b"a" * size, b"b" * size
            close = peer.frame(Opcode.CLOSE, b"\x0f\xa0bye")
            peer.send_bytes(peer.request() + peer.frame(2, first) + peer.frame(2, second) + close)
            assert peer.recv_response().status_code == 101
            frame = peer.recv_close()
            assert frame is not None and frame.data == b"\x0f\xa0bye"
            peer.recv_eof()
    assert messages == [first, second, 4000]


def test_violation_behind_the_request() -> None:
    messages: list[Any] = []
    with serving(lambda ws: received(ws, messages)) as server:
        with RawClient(server.address, open=False) as peer:
            peer.send_bytes(peer.request() + peer.frame(2, b"ok") + peer.frame(2, b"", mask=False))
            assert peer.recv_response().status_code == 101
            frame = peer.recv_close()
            assert frame is not None and frame.data[:2] == b"\x03\xea"
            peer.recv_eof()
    assert messages == [b"ok", 1006]


def test_request_with_half_a_frame_behind_it() -> None:
    messages: list[Any] = []
    with serving(lambda ws: received(ws, messages)) as server:
        with RawClient(server.address, open=False) as peer:
            frame = peer.frame(Opcode.BINARY, b"whole")
            peer.send_bytes(peer.request() + frame[:7])
            assert peer.recv_response().status_code == 101
            peer.send_bytes(frame[7:] + peer.frame(Opcode.CLOSE))
            peer.recv_eof()
    assert messages == [b"whole", 1005]


def test_handler_that_does_not_receive_finds_early_messages_later() -> None:
    found: list[Any] = []
    go_on = Event()

    def handler(ws: Any) -> None:
        go_on.wait()
        found.extend(ws)

    with serving(handler) as server, RawClient(server.address, open=False) as peer:
        peer.send_bytes(
            peer.request()
            + peer.frame(Opcode.TEXT, b"one")
            + peer.frame(Opcode.PING, b"?")
            + peer.frame(Opcode.TEXT, b"two")
        )
        assert peer.recv_response().status_code == 101
        pong = peer.recv_frame()
        assert pong is not None and pong.opcode is Opcode.PONG
        peer.send_frame(Opcode.CLOSE)
        go_on.set()
        peer.recv_eof()
    assert found == ["one", "two"]


# What is negotiated.


@pytest.mark.parametrize(
    "origin, accepted",
    [
        ("https://example.com", True),
        ("https://a.example.org", True),
        ("https://a.example.org.evil", False),
        (None, True),
        ("https://evil", False),
    ],
)
def test_origins(origin: str | None, accepted: bool) -> None:
    origins = ["https://example.com", re.compile(r"https://\w+\.example\.org"), None]
    with serving(echo, origins=origins) as server:
        if accepted:
            connect(uri_of(server), origin=origin).close()
        else:
            with pytest.raises(InvalidStatus):
                connect(uri_of(server), origin=origin)


def test_subprotocols() -> None:
    with serving(echo, subprotocols=["chat", "x"]) as server:
        with connect(uri_of(server), subprotocols=["x", "chat"]) as ws:
            assert ws.subprotocol == "chat"
            assert ws.response_headers["Sec-WebSocket-Protocol"] == "chat"


def test_select_subprotocol() -> None:
    calls = []

    def select(ws: Any, names: Any) -> str | None:
        calls.append((ws.request.path, list(names)))
        return names[-1] if names else None

    with serving(echo, select_subprotocol=select) as server:
        with connect(uri_of(server) + "a", subprotocols=["x", "y"]) as ws:
            assert ws.subprotocol == "y"
        with connect(uri_of(server) + "b") as ws:
            assert ws.subprotocol is None
    assert calls == [("/a", ["x", "y"]), ("/b", [])]


def test_select_subprotocol_refuses() -> None:
    def select(ws: Any, names: Any) -> str | None:
        raise NegotiationError("none of these")

    with serving(echo, select_subprotocol=select) as server:
        with pytest.raises(InvalidStatus) as raised:
            connect(uri_of(server))
    assert raised.value.response.status_code == 400
    assert b"none of these" in raised.value.response.body


# process_request and process_response.


def test_process_request_answers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "geventws.server")

    def process_request(ws: Any, request: Any) -> Response | None:
        if request.path == "/health":
            response: Response = ws.respond(200, "OK\n")
            response.headers["X-Own"] = "1"
            return response
        if request.path == "/empty":
            return Response(204, "No Content", Headers({"Server": "own"}))
        return None

    with serving(echo, process_request=process_request, server_header="ours") as server:
        for path, status, name in [("health", 200, "ours"), ("empty", 204, "own")]:
            with pytest.raises(InvalidStatus) as raised:
                connect(uri_of(server) + path)
            response = raised.value.response
            assert response.status_code == status
            assert response.headers["Server"] == name
        connect(uri_of(server)).close()
    messages = [record.getMessage() for record in caplog.records]
    # A connection may be answered before the one before it has ended.
    assert [message for message in messages if message.startswith("HTTP")] == [
        "HTTP response sent (200 OK)",
        "HTTP response sent (204 No Content)",
    ]
    assert messages.count("connection closed") == 3
    # Its own end comes right behind its answer.
    refused = [record for record in caplog.records if record.getMessage().startswith("HTTP")]
    for ws in [vars(record)["websocket"] for record in refused]:
        lines = [r.getMessage() for r in caplog.records if vars(r).get("websocket") == ws]
        assert lines[1:] == ["connection closed"]


def test_respond() -> None:
    with pair() as (_, ws):
        response = ws.respond(HTTPStatus.NOT_FOUND, "Niet gevonden: é\n")
    assert (response.status_code, response.reason_phrase) == (404, "Not Found")
    assert response.body == "Niet gevonden: é\n".encode()
    assert [name for name, _ in response.headers.raw_items()] == [
        "Date",
        "Connection",
        "Content-Length",
        "Content-Type",
    ]
    assert response.headers["Content-Length"] == "18"


def test_process_request_changes_the_request() -> None:
    def process_request(ws: Any, request: Any) -> None:
        assert ws.request is request
        del request.headers["Origin"]
        request.headers["Origin"] = "https://good"
        ws.username = "alice"

    with serving(
        lambda ws: ws.send(f"{ws.username} {ws.request_headers['Origin']}"),
        process_request=process_request,
        origins=["https://good"],
    ) as server:
        with connect(uri_of(server), origin="https://evil") as ws:
            assert ws.recv() == "alice https://good"


def test_process_response() -> None:
    def process_response(ws: Any, request: Any, response: Response) -> Response | None:
        if request.path == "/mutate":
            response.headers["X-Own"] = "1"
        elif request.path == "/replace":
            headers = response.headers.copy()
            headers["X-Own"] = "2"
            return Response(101, "Go", headers)
        elif request.path == "/refuse":
            refusal: Response = ws.respond(403, "no\n")
            return refusal
        return None

    with serving(echo, process_response=process_response) as server:
        for path, expected in [("", None), ("mutate", "1"), ("replace", "2")]:
            with connect(uri_of(server) + path) as ws:
                assert ws.response_headers.get("X-Own") == expected
                ws.send("hello")
                assert ws.recv() == "hello"
        with pytest.raises(InvalidStatus) as raised:
            connect(uri_of(server) + "refuse")
        assert raised.value.response.status_code == 403


def raise_it(exc: BaseException) -> Callable[..., Any]:
    def hook(*args: Any) -> None:
        raise exc

    return hook


@pytest.mark.parametrize(
    "hook, failure",
    [
        ("process_request", "process_request failed"),
        ("select_subprotocol", "opening handshake failed"),
        ("process_response", "process_response failed"),
    ],
)
@pytest.mark.parametrize(
    "exc", [RuntimeError("secret"), gevent.Timeout(7), SystemExit(3)], ids=lambda exc: repr(exc)
)
def test_hook_that_raises(
    hook: str, failure: str, exc: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "geventws.server")
    with serving(echo, **{hook: raise_it(exc)}) as server:
        with pytest.raises(InvalidStatus) as raised:
            connect(uri_of(server), subprotocols=["a"])
    response = raised.value.response
    assert response.status_code == 500
    assert response.body == (
        b"Failed to open a WebSocket connection.\nSee server log for more information.\n"
    )
    assert response.headers["Server"] == SERVER
    error = next(record for record in caplog.records if record.levelname == "ERROR")
    assert error.getMessage() == failure
    assert error.exc_info is not None and error.exc_info[1] is exc
    messages = [record.getMessage() for record in caplog.records]
    assert "connection rejected (500 Internal Server Error)" in messages


@pytest.mark.parametrize("hook", ["process_request", "process_response"])
def test_hook_that_returns_nonsense(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "geventws.server")
    with serving(echo, **{hook: lambda *args: "no response"}) as server:
        with pytest.raises(InvalidStatus) as raised:
            connect(uri_of(server))
        assert raised.value.response.status_code == 500
    error = next(record for record in caplog.records if record.levelname == "ERROR")
    assert error.getMessage() == f"{hook} failed"


def test_select_subprotocol_that_returns_nonsense(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "geventws.server")
    with serving(echo, select_subprotocol=lambda ws, names: "not offered") as server:
        with pytest.raises(InvalidStatus) as raised:
            connect(uri_of(server), subprotocols=["a"])
        assert raised.value.response.status_code == 500
    assert any(r.getMessage() == "opening handshake failed" for r in caplog.records)


def test_process_request_that_refuses_by_an_exception() -> None:
    with serving(echo, process_request=raise_it(InvalidOrigin("https://evil"))) as server:
        with pytest.raises(InvalidStatus) as raised:
            connect(uri_of(server))
        assert raised.value.response.status_code == 403


@pytest.mark.parametrize("hook", ["process_request", "process_response"])
def test_hook_that_blocks_stops_nobody_else(hook: str) -> None:
    blocked, go_on = Event(), Event()

    def block(ws: Any, request: Any, response: Any = None) -> None:
        if request.path == "/slow":
            blocked.set()
            go_on.wait()

    # The time that users' code takes is not the client's fault.
    with serving(echo, open_timeout=0.2, **{hook: block}) as server:
        opening = gevent.spawn(connect, uri_of(server) + "slow")
        assert blocked.wait(PATIENCE)
        with connect(uri_of(server)) as ws:
            ws.send("hello")
            assert ws.recv() == "hello"
        gevent.sleep(0.25)
        go_on.set()
        opening.get(timeout=PATIENCE).close()


def test_client_that_leaves_during_process_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "geventws.server")
    blocked, go_on = Event(), Event()

    def process_request(ws: Any, request: Any) -> None:
        blocked.set()
        go_on.wait()

    handled = []
    with serving(handled.append, process_request=process_request) as server:
        with RawClient(server.address, open=False) as peer:
            peer.send_bytes(peer.request())
            assert blocked.wait(PATIENCE)
            peer.reset()
        go_on.set()
        until(lambda: not server._roster.greenlets)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    assert caplog.records[-3].getMessage() == "connection closed"


# The server header.


@pytest.mark.parametrize("server_header", [None, "own/1.0"])
def test_server_header(server_header: str | None) -> None:
    def process_request(ws: Any, request: Any) -> Response | None:
        return ws.respond(200, "OK") if request.path == "/health" else None  # type: ignore[no-any-return]

    with serving(
        echo, server_header=server_header, process_request=process_request, origins=[None]
    ) as server:
        with connect(uri_of(server)) as ws:
            assert ws.response_headers.get("Server") == server_header
        for path, origin in [("health", None), ("", "https://evil")]:
            with pytest.raises(InvalidStatus) as raised:
                connect(uri_of(server) + path, origin=origin)
            assert raised.value.response.headers.get("Server") == server_header
        with RawClient(server.address, open=False) as peer:
            peer.send_bytes(b"GET / HTTP/1.1\r\nA b\r\n\r\n")
            assert peer.recv_response().headers.get("Server") == server_header


def test_default_server_header() -> None:
    major, minor = sys.version_info[:2]
    with pair() as (ws, _):
        name = ws.response_headers["Server"]
    assert name.startswith(f"Python/{major}.{minor} gevent/") and "geventws/" in name


def test_order_of_response_headers() -> None:
    headers = [
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
        ("Sec-WebSocket-Protocol", "chat"),
    ]
    with serving(echo, compression="deflate", subprotocols=["chat"]) as server:
        with RawClient(server.address, headers=headers) as peer:
            assert [name for name, _ in peer.response.headers.raw_items()] == [
                "Date",
                "Upgrade",
                "Connection",
                "Sec-WebSocket-Accept",
                "Sec-WebSocket-Extensions",
                "Sec-WebSocket-Protocol",
                "Server",
            ]
            # RFC 6455, section 1.3.
            assert peer.response.headers["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


# What is known of a connection.


def test_what_a_handler_knows() -> None:
    with raw_client() as (peer, ws):
        assert ws.request.path == ws.path == "/"
        assert ws.request_headers["Host"] == "localhost"
        assert ws.response.status_code == 101
        assert ws.remote_address == peer.sock.getsockname()
        assert ws.local_address == peer.sock.getpeername()
        assert ws.server is not None and ws in ws.server.connections
        assert ws.username is None
        assert ws.subprotocol is None
        assert (ws.close_code, ws.close_reason) == (None, None)


# Too slow.


@pytest.mark.parametrize("tls", [False, True])
def test_open_timeout_while_others_are_served(tls: bool) -> None:
    ssl = {"ssl": server_tls()} if tls else {}
    with serving(echo, open_timeout=0.3, **ssl) as server:
        client = {"ssl": client_tls()} if tls else {}
        stalled = [RawClient(server.address, open=False) for _ in range(3)]
        stalled[1].send_bytes(b"\x16\x03\x01" if tls else b"GET / HTTP/1.1\r\n")
        with connect(uri_of(server, "wss" if tls else "ws"), **client) as ws:
            for peer in stalled:
                peer.recv_eof()
                peer.close()
            # This one has no such deadline any more.
            ws.send("hello")
            assert ws.recv() == "hello"


def test_open_timeout_is_one_for_tls_and_request() -> None:
    with serving(echo, open_timeout=0.3, ssl=server_tls()) as server:
        with RawClient(server.address, open=False, ssl=client_tls()) as peer:
            peer.send_bytes(b"GET / HTTP/1.1\r\n")
            with gevent.Timeout(PATIENCE):
                peer.recv_eof()


def test_drip_does_not_prolong_open_timeout() -> None:
    with serving(echo, open_timeout=0.3) as server:
        with RawClient(server.address, open=False) as peer, gevent.Timeout(PATIENCE):
            with pytest.raises(OSError):
                for byte in peer.request() * 1000:
                    peer.send_bytes(bytes([byte]))
                    gevent.sleep(0.02)


def test_peer_that_does_not_close_after_a_refusal() -> None:
    with serving(echo, close_timeout=0.2) as server:
        with RawClient(server.address, open=False) as peer:
            peer.send_bytes(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert peer.recv_response().status_code == 405
            until(lambda: not server._roster.greenlets)


@pytest.mark.parametrize("tls, stage", [(True, "TLS handshake"), (False, "handshake request")])
def test_log_tells_what_was_not_in_time(
    tls: bool, stage: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "geventws.server")
    ssl = {"ssl": server_tls()} if tls else {}
    with serving(echo, open_timeout=0.05, **ssl) as server:
        with RawClient(server.address, open=False) as peer:
            peer.recv_eof()
        until(lambda: f"- timed out waiting for {stage}" in caplog.messages)


def test_client_that_resets_before_its_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "geventws.server")
    with serving(echo) as server:
        with RawClient(server.address, open=False) as peer:
            until(lambda: server._roster.greenlets)
            peer.reset()
        until(lambda: not server._roster.greenlets)
    (line,) = [record for record in caplog.records if record.getMessage().startswith("! ")]
    assert line.getMessage() == "! no valid HTTP request"
    assert line.exc_info is not None and isinstance(line.exc_info[1], ConnectionResetError)


# The server shuts down, or has no room.


def test_shutdown_before_the_request_is_whole() -> None:
    with serving(echo) as server, RawClient(server.address, open=False) as peer:
        peer.send_bytes(b"GET / HTTP/1.1\r\n")
        until(lambda: any(server._roster.greenlets.values()))
        server.shutdown()
        assert peer.recv_response().status_code == 503
        peer.recv_eof()


def test_shutdown_in_the_tls_handshake_says_nothing() -> None:
    with serving(echo, ssl=server_tls()) as server:
        with RawClient(server.address, open=False) as peer:
            until(lambda: any(server._roster.greenlets.values()))
            server.shutdown()
            # No response in what is no TLS yet.
            assert peer.recv_eof()


def test_shutdown_while_a_hook_runs() -> None:
    blocked, go_on = Event(), Event()

    def process_request(ws: Any, request: Any) -> None:
        blocked.set()
        go_on.wait()

    with serving(echo, process_request=process_request) as server:
        with RawClient(server.address, open=False) as peer:
            peer.send_bytes(peer.request())
            assert blocked.wait(PATIENCE)
            closing = gevent.spawn(server.shutdown)
            until(lambda: server.closing)
            go_on.set()
            assert peer.recv_response().status_code == 503
            # It waits for that.
            peer.close()
            closing.get(timeout=PATIENCE)


def test_no_room() -> None:
    with serving(echo, max_connections=1) as server, connect(uri_of(server)):
        with RawClient(server.address) as peer:
            assert (peer.response.status_code, peer.response.reason_phrase) == (
                503,
                "Service Unavailable",
            )
            assert peer.response.headers["Retry-After"] == "5"


# Requests for a WSGI application, on the same port.


def application(environ: Any, start_response: Any) -> list[bytes]:
    """Answer with the path."""
    start_response("200 OK", [("Content-Length", str(len(environ["PATH_INFO"])))])
    return [environ["PATH_INFO"].encode()]


def test_websocket_behind_other_requests() -> None:
    with serving(echo, http=application) as server:
        with RawClient(server.address, open=False) as peer:
            for path in ("/one", "/two"):
                peer.send_bytes(get(path))
                assert peer.recv_response().body == path.encode()
            peer.send_bytes(peer.request())
            assert peer.recv_response().status_code == 101
            peer.send_frame(Opcode.TEXT, b"hello")
            frame = peer.recv_frame()
            assert frame is not None and frame.data == b"hello"


def test_last_request_of_a_client() -> None:
    with serving(echo, http=application) as server:
        with RawClient(server.address, open=False) as peer:
            peer.send_bytes(get("/last", "Connection: close"))
            assert peer.recv_response().body == b"/last"
            assert peer.recv_eof()


@pytest.mark.parametrize("end", ["client", "server"])
def test_end_between_two_requests(end: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "geventws.server")
    with serving(echo, http=application) as server:
        with RawClient(server.address, open=False) as peer:
            peer.send_bytes(get("/one"))
            assert peer.recv_response().body == b"/one"
            until(lambda: [ws._phase for ws in server._roster.greenlets.values()] == [Phase.IDLE])
            if end == "server":
                server.shutdown()
                # A response would be taken for that to the next request.
                assert peer.recv_eof()
        until(lambda: not server._roster.greenlets)
    assert [message for message in caplog.messages if message.startswith("! ")] == []


# The end of a handler.


@pytest.mark.parametrize("over", [False, True])
def test_crash_of_a_handler(over: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A handler that crashes is told of behind the end of its connection, if that is why."""
    caplog.set_level("INFO", "geventws.server")

    def handler(ws: Any) -> None:
        ws.recv()
        raise RuntimeError("crash")

    with serving(handler) as server:
        with RawClient(server.address) as peer:
            if over:
                peer.send_bytes(peer.frame(Opcode.CLOSE, b"\x03\xeb"))
            else:
                peer.send_frame(Opcode.TEXT, b"hello")
            frame = peer.recv_close()
            assert frame is not None and frame.data == (b"\x03\xeb" if over else b"\x03\xf3")
        until(lambda: not server._roster.greenlets)
    lines = [message for message in caplog.messages if message.startswith("connection ")]
    expected = ["connection closed", "connection handler failed"]
    assert lines == ["connection open", *(expected if over else reversed(expected))]
