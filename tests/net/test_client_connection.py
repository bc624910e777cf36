"""A client's end of a connection: what servers answer, what may be done with it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent.event import Event

from geventws import (
    ConnectionClosedOK,
    InvalidHandshake,
    InvalidHeader,
    InvalidHeaderValue,
    InvalidMessage,
    InvalidStatus,
    InvalidUpgrade,
    NegotiationError,
    Opcode,
    SecurityError,
    State,
    connect,
)
from geventws.core.exceptions import HeaderLineTooLong, StatusLineTooLong, TooManyHeaders
from geventws.core.grammar import accept_key
from geventws.core.http11 import Request
from geventws.testing import RawServer
from tests.net.support import (
    HOST,
    PATIENCE,
    echo,
    serving,
    until,
    uri_of,
)

# What servers answer.

OK = "HTTP/1.1 101 Switching Protocols\r\n"


def answering(
    answer: bytes | Callable[[RawServer, Request], bytes], eof: bool = False, **options: Any
) -> None:
    """Connect to a server that gives this answer, and perhaps closes then."""
    with RawServer() as server:
        opening = gevent.spawn(connect, server.uri, **options)
        with server.accept(open=False) as peer:
            request = server.recv_request(peer)
            peer.send_bytes(answer if isinstance(answer, bytes) else answer(server, request))
            if eof:
                peer.sock.shutdown(1)
            try:
                opening.get(timeout=PATIENCE).close()
            finally:
                # Whatever was wrong, the client has closed the connection.
                peer.recv_eof()


def accepting(**changes: str | None) -> Callable[[RawServer, Request], bytes]:
    """An answer that accepts, with some headers changed, added, or (None) left out."""

    def answer(server: RawServer, request: Request) -> bytes:
        headers: dict[str, str | None] = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": accept_key(request.headers["Sec-WebSocket-Key"]),
        }
        headers.update({name.replace("_", "-"): value for name, value in changes.items()})
        lines = [f"{name}: {value}\r\n" for name, value in headers.items() if value is not None]
        return f"{OK}{''.join(lines)}\r\n".encode()

    return answer


def doubled(name: str) -> Callable[[RawServer, Request], bytes]:
    """An answer that accepts, but has a header twice."""

    def answer(server: RawServer, request: Request) -> bytes:
        value = accept_key(request.headers["Sec-WebSocket-Key"])
        return server.response(request, [(name, value)])

    return answer


PROTOCOL = "Sec_WebSocket_Protocol"
EXTENSIONS = "Sec_WebSocket_Extensions"


@pytest.mark.parametrize(
    "answer, options, exception, text",
    [
        (
            accepting(Connection=None),
            {},
            InvalidUpgrade,
            "missing Connection header",
        ),
        (
            accepting(Connection="close"),
            {},
            InvalidUpgrade,
            "invalid Connection header: close",
        ),
        (accepting(Upgrade=None), {}, InvalidUpgrade, "missing Upgrade header"),
        (accepting(Upgrade="h2c"), {}, InvalidUpgrade, "invalid Upgrade header: h2c"),
        (
            accepting(Sec_WebSocket_Accept=None),
            {},
            InvalidHeader,
            "missing Sec-WebSocket-Accept header",
        ),
        (
            accepting(Sec_WebSocket_Accept="AAAA"),
            {},
            InvalidHeaderValue,
            "invalid Sec-WebSocket-Accept header: AAAA",
        ),
        (
            doubled("Sec-WebSocket-Accept"),
            {},
            InvalidHeader,
            "invalid Sec-WebSocket-Accept header: multiple values",
        ),
        (
            accepting(**{EXTENSIONS: "x-foo"}),
            {"compression": None},
            NegotiationError,
            "no extensions supported",
        ),
        (
            accepting(**{EXTENSIONS: "x-foo"}),
            {},
            NegotiationError,
            "Unsupported extension: name = x-foo, params = []",
        ),
        (
            accepting(**{PROTOCOL: "chat"}),
            {},
            NegotiationError,
            "no subprotocols supported",
        ),
        (
            accepting(**{PROTOCOL: "chat"}),
            {"subprotocols": ["x"]},
            NegotiationError,
            "unsupported subprotocol: chat",
        ),
        (
            accepting(**{PROTOCOL: "chat, x"}),
            {"subprotocols": ["chat", "x"]},
            InvalidHeader,
            "invalid Sec-WebSocket-Protocol header: multiple values: chat, x",
        ),
    ],
)
def test_unacceptable_answer(
    answer: Any, options: dict[str, Any], exception: type[Exception], text: str
) -> None:
    with pytest.raises(exception) as raised:
        answering(answer, **options)
    assert type(raised.value) is exception
    assert isinstance(raised.value, InvalidHandshake)
    assert str(raised.value) == text


@pytest.mark.parametrize(
    "answer, eof, body",
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope", False, b"nope"),
        (
            b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nno\r\n2\r\npe\r\n0\r\n\r\n",
            False,
            b"nope",
        ),
        (b"HTTP/1.1 404 Not Found\r\n\r\nnope", True, b"nope"),
        (b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", False, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False, b""),
    ],
    ids=["Content-Length", "chunked", "until EOF", "empty", "no content"],
)
def test_refusal(answer: bytes, eof: bool, body: bytes) -> None:
    with pytest.raises(InvalidStatus) as raised:
        answering(answer, eof)
    status = int(answer[9:12])
    assert raised.value.response.status_code == status
    assert raised.value.response.body == body
    assert str(raised.value) == f"server rejected WebSocket connection: HTTP {status}"


@pytest.mark.parametrize(
    "answer, eof, cause, text",
    [
        (b"220 smtp.invalid ESMTP\r\n", False, ValueError, "invalid HTTP status line: "),
        (
            b"HTTP/1.0 200 OK\r\n\r\n",
            False,
            ValueError,
            "unsupported protocol; expected HTTP/1.1: HTTP/1.0 200 OK",
        ),
        (
            b"HTTP/1.1 999 Odd\r\n\r\n",
            False,
            ValueError,
            "invalid status code; expected 100–599; got 999",
        ),
        (b"", True, EOFError, "connection closed while reading HTTP status line"),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n",
            True,
            EOFError,
            "connection closed while reading HTTP headers",
        ),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nA: " + b"a" * 9000,
            False,
            HeaderLineTooLong,
            "expected no more than 8192 bytes",
        ),
        (
            b"HTTP/1.1 101 Switching Protocols\r\n" + b"A: a\r\n" * 129,
            False,
            TooManyHeaders,
            "expected no more than 128 headers",
        ),
        (
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 2000000\r\n\r\n",
            False,
            SecurityError,
            "body too large: 2000000 bytes",
        ),
    ],
)
def test_invalid_answer(answer: bytes, eof: bool, cause: type[Exception], text: str) -> None:
    with pytest.raises(InvalidMessage) as raised:
        answering(answer, eof)
    assert str(raised.value) == "did not receive a valid HTTP response"
    assert isinstance(raised.value.__cause__, cause)
    assert text in str(raised.value.__cause__)


def test_status_line_too_long() -> None:
    with pytest.raises(StatusLineTooLong, match="expected no more than 8192 bytes"):
        answering(b"HTTP/1.1 101 " + b"a" * 9000)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_answer_in_pieces_with_frames_behind_it(size: int) -> None:
    with RawServer() as server:
        opening = gevent.spawn(connect, server.uri)
        with server.accept(open=False) as peer:
            request = server.recv_request(peer)
            data = server.response(request) + peer.frame(Opcode.TEXT, b"early")
            data += peer.frame(Opcode.CLOSE, b"\x03\xe8")
            for start in range(0, len(data), size):
                peer.send_bytes(data[start : start + size])
                gevent.sleep(0)
            peer.sock.shutdown(1)
            ws = opening.get(timeout=PATIENCE)
            assert list(ws) == ["early"]
            assert ws.close_code == 1000


def test_reset_instead_of_an_answer() -> None:
    with RawServer() as server:
        opening = gevent.spawn(connect, server.uri)
        server.accept(open=False).reset()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            opening.get(timeout=PATIENCE)


# Using the connection.


def test_without_with() -> None:
    with serving(echo) as server:
        ws = connect(uri_of(server))
        assert ws.state is State.OPEN
        ws.send("hello")
        assert ws.recv() == "hello"
        ws.close()
        assert ws.close_code == 1000
        with pytest.raises(ConnectionClosedOK):
            ws.send("late")


@pytest.mark.parametrize(
    "exc, code",
    [
        (None, 1000),
        (GeneratorExit, 1000),
        (RuntimeError, 1011),
        (gevent.GreenletExit, 1001),
        (gevent.Timeout, 1011),
    ],
)
def test_end_of_with_block(exc: type[BaseException] | None, code: int) -> None:
    codes = []

    def handler(ws: Any) -> None:
        ws.wait_closed()
        codes.append(ws.close_code)

    with serving(handler) as server:
        try:
            with connect(uri_of(server)):
                if exc is not None:
                    raise exc
        except BaseException as caught:
            assert type(caught) is exc
        until(lambda: codes)
    assert codes == [code]


def test_what_a_client_knows() -> None:
    with serving(echo, subprotocols=["chat"]) as server:
        with connect(uri_of(server) + "a?b", subprotocols=["chat"]) as ws:
            assert ws.path == ws.request.path == "/a?b"
            assert ws.request_headers["Sec-WebSocket-Version"] == "13"
            assert ws.response.status_code == 101
            assert ws.response_headers["Upgrade"] == "websocket"
            assert ws.subprotocol == "chat"
            assert ws.remote_address == server.address
            local = ws.local_address
            assert local[0] == HOST
        assert (ws.remote_address, ws.local_address) == (server.address, local)
        assert repr(ws) == f"<ClientConnection CLOSED {server.address}>"


def test_addresses_not_asked_for_before_the_end() -> None:
    with serving(echo) as server:
        ws = connect(uri_of(server))
        ws.close()
        assert ws.remote_address == server.address


def test_an_open_connection_is_kept_alive() -> None:
    closed = Event()

    def handler(ws: Any) -> None:
        ws.wait_closed()
        closed.set()

    with serving(handler) as server:
        connect(uri_of(server))
        gc.collect()
        assert not closed.wait(0.05)
        # Shutdown ends it.
