"""The WebSocket of gevent-websocket's programs: its methods, and where they are better now."""

from __future__ import annotations

import contextlib
import socket
import weakref
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.queue import Queue

from geventws import Opcode
from geventws.compat.geventwebsocket.exceptions import ProtocolError, WebSocketError
from geventws.compat.geventwebsocket.handler import WebSocketHandler
from geventws.compat.geventwebsocket.websocket import WebSocket
from geventws.testing import RawClient
from tests.net.support import PATIENCE, until
from tests.wsgi.support import served


class CurrentApp:
    """A WSGI application that lends its WebSockets to the test, and notes errors."""

    def __init__(self) -> None:
        self.current_app = self
        self.errors: list[str] = []
        self.websockets: Queue[WebSocket] = Queue()
        self.done = Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.websockets.put(environ["wsgi.websocket"])
        self.done.wait()
        return []

    def on_close(self, reason: str) -> None:
        self.errors.append(reason)


@contextlib.contextmanager
def pair(early: bytes = b"", **options: Any) -> Iterator[tuple[WebSocket, RawClient, CurrentApp]]:
    """A WebSocket, a raw client at its other end, and the application."""
    app = CurrentApp()
    handler = type("Handler", (WebSocketHandler,), {"websocket_options": options})
    with served(app, handler_class=handler) as server:
        client = server.open("/path?query", early, [("Origin", "http://me")])
        try:
            yield app.websockets.get(timeout=PATIENCE), client, app
        finally:
            client.close()
            app.done.set()


def say_goodbye(client: RawClient, data: bytes = b"\x03\xe8") -> None:
    """Send a close frame, and the end of the stream, as clients do when they have the answer."""
    client.send_frame(Opcode.CLOSE, data)
    client.sock.shutdown(socket.SHUT_WR)


def assert_frame(client: RawClient, opcode: Opcode, data: bytes) -> None:
    frame = client.recv_frame()
    assert frame is not None
    assert (frame.opcode, frame.data, frame.fin) == (opcode, data, True)


# Receiving.


def test_receive() -> None:
    with pair(RawClient.frame(None, Opcode.TEXT, b"early", mask=True)) as (ws, client, _):
        assert ws.receive() == "early"
        client.send_frame(Opcode.TEXT)
        assert ws.receive() == ""
        client.send_frame(Opcode.BINARY, b"\x00\xff")
        message = ws.receive()
        assert isinstance(message, bytearray) and message == b"\x00\xff"


def test_receive_gives_none_once_then_raises() -> None:
    with pair() as (ws, client, app):
        say_goodbye(client)
        assert ws.receive() is None
        assert ws.closed and app.errors == []
        with pytest.raises(WebSocketError, match=r"^Connection is already closed$"):
            ws.receive()
        assert app.errors == ["Connection is already closed"]
        # The answer has the code, which gevent-websocket swallowed.
        assert_frame(client, Opcode.CLOSE, b"\x03\xe8")


def test_receive_gives_none_when_the_client_vanishes() -> None:
    with pair() as (ws, client, app):
        client.close()
        assert ws.receive() is None
        assert app.errors == ["Connection closed"]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param(RawClient.frame(None, Opcode.TEXT, b"", mask=False), 1002, id="unmasked"),
        pytest.param(RawClient.frame(None, Opcode.TEXT, b"\xff", mask=True), 1007, id="UTF-8"),
        pytest.param(RawClient.frame(None, 3, b"", mask=True), 1002, id="opcode"),
        pytest.param(b"\x82\xff\x40" + bytes(11), 1009, id="2**62 bytes"),
    ],
)
def test_receive_gives_none_when_the_client_misbehaves(frame: bytes, code: int) -> None:
    with pair() as (ws, client, app):
        client.send_bytes(frame)
        client.sock.shutdown(socket.SHUT_WR)
        assert ws.receive() is None
        closing = client.recv_frame()
        assert closing is not None and closing.opcode is Opcode.CLOSE
        assert int.from_bytes(closing.data[:2], "big") == code
        assert app.errors == []


def test_messages_before_the_close_are_received() -> None:
    with pair() as (ws, client, _):
        client.send_bytes(
            client.frame(Opcode.TEXT, b"1")
            + client.frame(Opcode.TEXT, b"2")
            + client.frame(Opcode.CLOSE, b"\x03\xe8")
        )
        client.sock.shutdown(socket.SHUT_WR)
        until(lambda: not ws.connected)
        received = []
        while not ws.closed:
            received.append(ws.receive())
        assert received == ["1", "2"]
        assert ws.receive() is None


def test_receive_after_a_timeout() -> None:
    with pair() as (ws, client, _):
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
            ws.receive()
        client.send_frame(Opcode.TEXT, b"after")
        assert ws.receive() == "after"


def test_second_receiver_is_refused() -> None:
    with pair() as (ws, client, app):
        first = gevent.spawn(ws.receive)
        gevent.sleep(0)
        with pytest.raises(WebSocketError, match="another greenlet"):
            ws.receive()
        client.send_frame(Opcode.TEXT, b"for the first")
        assert first.get(timeout=PATIENCE) == "for the first"
        assert app.errors == []


def test_receive_ends_when_another_greenlet_closes() -> None:
    with pair() as (ws, client, _):
        receiver = gevent.spawn(ws.receive)
        gevent.sleep(0)
        ws.close()
        assert_frame(client, Opcode.CLOSE, b"\x03\xe8")
        say_goodbye(client)
        assert receiver.get(timeout=PATIENCE) is None


def test_read_message_and_read_frame() -> None:
    with pair() as (ws, client, _):
        client.send_frame(Opcode.TEXT, b"1")
        assert ws.read_message() == "1"
        client.send_frame(Opcode.BINARY, b"22")
        header, payload = ws.read_frame()
        assert (header.opcode, header.fin, header.length, payload) == (2, True, 2, b"22")
        say_goodbye(client, b"")
        header, payload = ws.read_frame()
        assert (header.opcode, payload) == (8, b"")


def test_read_message_raises_when_the_client_vanishes() -> None:
    with pair() as (ws, client, _):
        client.close()
        with pytest.raises(WebSocketError, match="Connection closed"):
            ws.read_message()


# Sending.


@pytest.mark.parametrize(
    ("message", "binary", "opcode", "data"),
    [
        ("text", None, Opcode.TEXT, b"text"),
        ("text", True, Opcode.BINARY, b"text"),
        (b"bytes", None, Opcode.BINARY, b"bytes"),
        (b"bytes", False, Opcode.TEXT, b"bytes"),
        (bytearray(b"bytes"), None, Opcode.BINARY, b"bytes"),
        (memoryview(b"bytes"), None, Opcode.BINARY, b"bytes"),
        ([1, 2], None, Opcode.BINARY, b"\x01\x02"),
    ],
)
def test_send(message: Any, binary: bool | None, opcode: Opcode, data: bytes) -> None:
    with pair() as (ws, client, _):
        ws.send(message, binary)
        assert_frame(client, opcode, data)


@pytest.mark.parametrize("message", [None, 5, object()])
def test_send_what_is_no_message(message: Any) -> None:
    with pair() as (ws, client, _):
        with pytest.raises(TypeError):
            ws.send(message)
        ws.send("still open")
        assert_frame(client, Opcode.TEXT, b"still open")


@pytest.mark.parametrize("message", ["text", None])
def test_send_after_the_end(message: Any) -> None:
    with pair() as (ws, client, app):
        say_goodbye(client)
        assert ws.receive() is None
        with pytest.raises(WebSocketError, match=r"^Socket is dead$"):
            ws.send(message)
        with pytest.raises(WebSocketError, match=r"^Connection is already closed$"):
            ws.send_frame("text", ws.OPCODE_TEXT)
        assert app.errors == ["Socket is dead"]


def test_send_ends_a_loop_that_never_receives() -> None:
    with pair() as (ws, client, _):
        client.close()
        with pytest.raises(WebSocketError, match="Socket is dead"):
            while True:
                ws.send("tick")
                gevent.sleep(0)


def test_many_greenlets_send() -> None:
    with pair() as (ws, client, _):
        payloads = {bytes([number]) * 100_000 for number in range(20)}
        senders = [gevent.spawn(ws.send, payload) for payload in payloads]
        received = {frame.data for _ in payloads if (frame := client.recv_frame())}
        gevent.joinall(senders, timeout=PATIENCE, raise_error=True)
        assert received == payloads


def test_send_frame() -> None:
    with pair() as (ws, client, _):
        ws.send_frame("text", ws.OPCODE_TEXT)
        assert_frame(client, Opcode.TEXT, b"text")
        ws.send_frame("keepalive", ws.OPCODE_PING)
        assert_frame(client, Opcode.PING, b"keepalive")
        # Again, though the first is not answered.
        ws.send_frame("keepalive", ws.OPCODE_PING)
        frame = client.recv_frame()
        assert frame is not None and frame.opcode is Opcode.PING
        ws.handle_ping(None, b"pong")
        assert_frame(client, Opcode.PONG, b"pong")
        ws.send_frame(b"\x0f\xa0why", ws.OPCODE_CLOSE)
        assert_frame(client, Opcode.CLOSE, b"\x0f\xa0why")


def test_send_frame_that_must_not_be_sent() -> None:
    with pair() as (ws, _, _):
        with pytest.raises(ProtocolError, match="OPCODE_"):
            ws.send_frame(b"", ws.OPCODE_CONTINUATION)
        with pytest.raises(ProtocolError):
            ws.send_frame(b"x" * 126, ws.OPCODE_PING)
        assert not ws.closed


def test_other_threads_are_refused() -> None:
    with pair() as (ws, _, _):
        for call in (lambda: ws.send("text"), ws.receive, ws.close):
            with pytest.raises(WebSocketError, match="thread"):
                gevent.get_hub().threadpool.apply(call)
        assert not ws.closed


# Closing.


@pytest.mark.parametrize(
    ("arguments", "payload"),
    [
        ((), b"\x03\xe8"),
        ((1012,), b"\x03\xf4"),
        ((4999, "why"), b"\x13\x87why"),
        ((3000, b"why"), b"\x0b\xb8why"),
        ((1000, None), b"\x03\xe8"),
        # What may not be sent.
        ((1006,), b"\x03\xe8"),
        ((0, b"why"), b"\x03\xe8why"),
        ((None,), b"\x03\xe8"),
        ((1000.5,), b"\x03\xe8"),
        ((1000, "é" * 100), b"\x03\xe8" + b"\xc3\xa9" * 61),
    ],
)
def test_close(arguments: Any, payload: bytes) -> None:
    with pair() as (ws, client, app):
        # It does not wait for the client, who says nothing.
        ws.close(*arguments)
        assert ws.closed
        assert_frame(client, Opcode.CLOSE, payload)
        ws.close()
        assert app.errors == ["Connection is already closed"]
        with pytest.raises(WebSocketError):
            ws.receive()


def test_handle_close() -> None:
    with pair() as (ws, client, _):
        with pytest.raises(ProtocolError):
            ws.handle_close(None, b"\x00")
        ws.handle_pong(None, b"")
        ws.handle_close(None, b"\x0f\xa0why")
        assert_frame(client, Opcode.CLOSE, b"\x0f\xa0why")


# What is known.


def test_what_is_known() -> None:
    with pair() as (ws, _, app):
        assert (ws.path, ws.origin, ws.version, ws.protocol) == ("/path", "http://me", "13", None)
        assert ws.environ is not None and ws.environ["QUERY_STRING"] == "query"
        assert ws.stream is not None and ws.stream.handler is ws.handler
        assert ws.logger is ws.handler.logger
        assert ws.current_app is app
        assert ws.utf8validator.validate(b"text")[0]
        assert ws in weakref.WeakSet([ws])
        ws.close()
        known = ws.path, ws.origin, ws.version, ws.environ, ws.stream, ws.raw_read, ws.raw_write
        assert known == (None,) * 7


def test_raw_bytes_are_refused() -> None:
    with pair() as (ws, _, _):
        with pytest.raises(WebSocketError, match="receive"):
            ws.raw_read(1)
        with pytest.raises(WebSocketError, match="send"):
            ws.raw_write(b"")


def test_validate_utf8() -> None:
    with pair() as (ws, _, _):
        ws.validate_utf8(b"text")
        with pytest.raises(UnicodeError):
            ws.validate_utf8(b"\xff")


def test_options() -> None:
    with pair(max_size=10) as (ws, client, _):
        client.send_frame(Opcode.BINARY, b"x" * 11)
        client.sock.shutdown(socket.SHUT_WR)
        assert ws.receive() is None
        frame = client.recv_frame()
        assert frame is not None and frame.data[:2] == b"\x03\xf1"
