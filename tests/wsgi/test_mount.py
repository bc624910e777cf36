"""Tests of geventws.mount: the opening handshake through a WSGI server."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from typing import Any, Self

import gevent
import pytest
from gevent.event import Event
from gevent.monkey import get_original
from gevent.pool import Pool
from gevent.queue import Queue
from gunicorn.config import Config
from gunicorn.http import RequestParser
from gunicorn.http.wsgi import create

from geventws import (
    ConnectionClosedError,
    InvalidHandshake,
    InvalidUpgrade,
    NegotiationError,
    Opcode,
    State,
)
from geventws.mount import Mount
from geventws.net.hubs import get_hub_state
from geventws.net.mounted import MountedConnection
from geventws.testing import KEY, RawClient
from geventws.wsgi import WebSocketMiddleware, accept, websocket_app
from tests.net.support import HOST, PATIENCE, in_thread, turns
from tests.wsgi.support import served

REQUEST = RawClient.request()


def without(*names: str) -> bytes:
    request = REQUEST
    for name in names:
        request = re.sub(rf"{name}: .*\r\n".encode(), b"", request)
    return request


def answer(request: bytes, **options: Any) -> Any:
    """What a handler's application answers."""
    with served(websocket_app(**options)(lambda ws: None)) as here:
        client = here.request(request)
        response = client.response
        assert response is not None
        if response.status_code == 101:
            assert client.recv_close() is not None
            client.send_frame(Opcode.CLOSE, b"\x03\xe8")
        assert client.recv_eof()
        client.close()
        here.wait_for_log(response.status_code)
        assert here.errors.getvalue() == ""
    turns()
    assert not get_hub_state().streams
    return response


def test_response() -> None:
    response = answer(REQUEST, additional_headers={"X-Test": "1"}, compression=None)
    assert (response.status_code, response.reason_phrase) == (101, "Switching Protocols")
    headers = dict(response.headers.items())
    assert headers.pop("date")
    assert headers == {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "x-test": "1",
    }
    assert KEY.encode() in REQUEST


def test_negotiation() -> None:
    offers = [
        ("Sec-WebSocket-Protocol", "a, b"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
    ]
    response = answer(RawClient.request(offers), subprotocols=["b", "a"])
    assert response.headers["Sec-WebSocket-Protocol"] == "b"
    assert "permessage-deflate" in response.headers["Sec-WebSocket-Extensions"]


@pytest.mark.parametrize(
    ("request_", "status", "text"),
    [
        (without("Upgrade"), 426, "missing Upgrade header; the request has Sec-WebSocket-Key, so "),
        (without("Connection"), 426, "proxy_set_header Connection"),
        (
            without("Upgrade", "Connection").replace(b"HTTP/1.1", b"HTTP/1.0"),
            426,
            "nginx: proxy_http_version 1.1",
        ),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 426, "You need a WebSocket client."),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", 426, "missing Connection header"),
        (REQUEST.replace(b"GET", b"PUT"), 405, "unsupported HTTP method"),
        (REQUEST.replace(b"Version: 13", b"Version: 8"), 426, "Sec-WebSocket-Version"),
        (without("Sec-WebSocket-Key"), 400, "missing Sec-WebSocket-Key header"),
        (without("Host"), 400, "missing Host header"),
        (RawClient.request([("Content-Length", "5")]) + b"frame", 400, "unsupported request body"),
    ],
)
def test_request_that_opens_no_websocket(request_: bytes, status: int, text: str) -> None:
    """The client is told why, once, and the connection ends."""
    response = answer(request_)
    assert response.status_code == status
    assert text in response.body.decode()
    assert response.headers["Connection"] == "close"
    if status == 426:
        assert response.headers["Upgrade"] == "websocket"


def test_browser_is_not_told_of_proxies() -> None:
    response = answer(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert "proxy" not in response.body.decode()


def test_refusals() -> None:
    assert answer(REQUEST, origins=["https://example.com"]).status_code == 403
    assert answer(REQUEST, subprotocols=["chat"]).status_code == 400


def test_bare_accept_raises_after_the_response() -> None:
    raised = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            accept(environ, start_response)
        except InvalidHandshake as exc:
            raised.append(exc)
        return []

    with served(app) as here:
        client = here.request(without("Upgrade"))
        assert client.response is not None and client.response.status_code == 426
        assert client.recv_eof()
        client.close()
        here.wait_for_log(426)
    assert isinstance(raised[0], InvalidUpgrade)
    assert "a proxy on the way" in str(raised[0].__cause__)


def test_select_subprotocol() -> None:
    def select(ws: MountedConnection, offered: Sequence[str]) -> str | None:
        assert ws.path == "/"
        return offered[-1]

    request = RawClient.request([("Sec-WebSocket-Protocol", "a, b")])
    response = answer(request, select_subprotocol=select)
    assert response.headers["Sec-WebSocket-Protocol"] == "b"


def test_select_subprotocol_refuses() -> None:
    def select(ws: MountedConnection, offered: Sequence[str]) -> str | None:
        raise NegotiationError("none of these")

    response = answer(REQUEST, select_subprotocol=select)
    assert (response.status_code, b"none of these" in response.body) == (400, True)


@pytest.mark.parametrize("result", ["unasked", ZeroDivisionError])
def test_select_subprotocol_fails(result: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The client learns nothing of it, the log all."""

    def select(ws: MountedConnection, offered: Sequence[str]) -> str | None:
        if isinstance(result, str):
            return result
        raise result

    response = answer(REQUEST, select_subprotocol=select)
    assert response.status_code == 500
    assert b"See server log" in response.body
    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert error.message == "opening handshake failed" and error.exc_info


def test_log(caplog: pytest.LogCaptureFixture) -> None:
    """As `serve` logs, as far as it is ours."""
    caplog.set_level(logging.DEBUG, "geventws")
    answer(REQUEST, compression=None)
    messages = [record.message for record in caplog.records]
    assert messages[:3] == ["= connection is CONNECTING", "< GET / HTTP/1.1", "< Host: localhost"]
    assert "> HTTP/1.1 101 Switching Protocols" in messages
    assert "> Upgrade: websocket" in messages
    assert messages.index("connection open") < messages.index("connection closed")
    caplog.clear()
    answer(without("Upgrade"))
    messages = [record.message for record in caplog.records]
    assert "! invalid upgrade" in messages
    assert messages[-2:] == [
        "connection rejected (426 Upgrade Required)",
        "= connection is CLOSED",
    ]
    assert all(hasattr(record, "websocket") for record in caplog.records)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("when", ["before", "behind"])
def test_client_that_is_gone_already(when: str, tls: bool) -> None:
    """Before the response is sent, or right behind it: the connection ends as any other."""
    arrived, gone, closed = Event(), Event(), Queue()

    def vanish() -> None:
        arrived.set()
        gone.wait()
        turns()

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        def start_response(status: str, headers: Any) -> Any:
            write = start(status, headers)

            def write_and_wait(data: bytes) -> None:
                write(data)
                vanish()

            return write_and_wait if when == "behind" else write

        if when == "before":
            vanish()
        ws = accept(environ, start_response)
        with pytest.raises(ConnectionClosedError):
            ws.recv(timeout=PATIENCE)
        closed.put((ws.close_code, ws.response.status_code))  # type: ignore[union-attr]
        return []

    with served(app, tls=tls) as here:
        client = here.connect()
        client.send_bytes(REQUEST)
        assert arrived.wait(PATIENCE)
        client.reset()
        gone.set()
        assert closed.get(timeout=PATIENCE) == (1006, 101)
        turns()
        assert not get_hub_state().streams
        assert here.errors.getvalue() == ""


def test_response_that_cannot_be_sent() -> None:
    """The reason is known."""

    def start_response(status: str, headers: Any) -> Any:
        raise BrokenPipeError

    causes: Queue[Any] = Queue()

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        ws = accept(environ, start_response)
        with pytest.raises(ConnectionClosedError) as raised:
            ws.send("x")
        causes.put(type(raised.value.__cause__))
        return []

    with served(app) as here:
        client = here.connect()
        client.send_bytes(REQUEST)
        assert causes.get(timeout=PATIENCE) is BrokenPipeError
        client.close()


class Made:
    """Makes connections, and knows the last one."""

    ws: MountedConnection

    def __call__(self, *args: Any, **kwargs: Any) -> MountedConnection:
        self.ws = MountedConnection(*args, **kwargs)
        return self.ws


def test_killed_before_the_answer() -> None:
    """Nobody waits for the end of what was never open, and the client is not left waiting."""
    made, asked, pool = Made(), Event(), Pool()

    def select(ws: MountedConnection, offered: Sequence[str]) -> str | None:
        asked.set()
        Event().wait()
        return None

    app = websocket_app(select_subprotocol=select, create_connection=made)(pytest.fail)
    with served(app, spawn=pool) as here:
        client = here.connect()
        client.send_bytes(REQUEST)
        assert asked.wait(PATIENCE)
        assert made.ws in get_hub_state().streams
        pool.kill(block=True, timeout=PATIENCE)
        assert made.ws.state is State.CLOSED and made.ws.wait_closed(0)
        assert not get_hub_state().streams
        # The server's own answer, since there was none.
        assert client.recv_response().status_code == 500
        assert client.recv_eof()
        client.close()


def test_server_that_does_not_let_us_answer() -> None:
    """It is the application's business, which has its socket still."""
    made, raised = Made(), []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        def refuse(status: str, headers: Any) -> Any:
            raise AssertionError("no answer of yours")

        try:
            accept(environ, refuse, create_connection=made)
        except AssertionError as exc:
            raised.append(str(exc))
        start_response("503 Service Unavailable", [("Content-Length", "6")])
        return [b"later\n"]

    with served(app) as here:
        response = here.request(REQUEST).response
        assert response is not None and (response.status_code, response.body) == (503, b"later\n")
        assert made.ws.state is State.CLOSED
        assert not get_hub_state().streams
    assert raised == ["no answer of yours"]


@pytest.mark.parametrize("middleware", [False, True])
def test_second_accept(middleware: bool) -> None:
    """Also where the first was in vain: the client has got its answer."""
    errors: Queue[Any] = Queue()

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        for _ in range(3):
            try:
                accept(environ, start)
            except (InvalidHandshake, RuntimeError) as exc:
                errors.put(type(exc))
        return []

    with served(WebSocketMiddleware(app) if middleware else app) as here:
        assert here.request(without("Upgrade")).response.status_code == 426
        got = [errors.get(timeout=PATIENCE) for _ in range(3)]
        assert got == [InvalidUpgrade, RuntimeError, RuntimeError]
        here.wait_for_log(426)
        assert here.errors.getvalue() == ""


def test_kill_in_a_log_handler() -> None:
    """The connection is open, but the application does not have it yet."""

    class Killing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.msg == "connection open":
                raise gevent.GreenletExit

    logger = logging.getLogger("test_kill_in_a_log_handler")
    logger.setLevel(logging.INFO)
    logger.addHandler(Killing())
    with served(websocket_app(logger=logger)(lambda ws: None)) as here:
        client = here.open()
        received = client.recv_close()
        assert received is not None and received.data == b"\x03\xe9"
        assert client.recv_frame() is None
        client.close()
        turns()
        assert not get_hub_state().streams


def test_options_are_checked_before_the_first_request() -> None:
    with pytest.raises(ValueError, match="unsupported compression"):
        Mount(compression="lzma")
    with pytest.raises(ValueError, match="invalid header name"):
        Mount(additional_headers={"X Test": "1"})
    with pytest.raises(TypeError, match="unexpected keyword"):
        websocket_app(max_sise=1)(lambda ws: None)


def test_create_connection() -> None:
    class Connection(MountedConnection):
        pass

    classes = []
    with served(
        websocket_app(create_connection=Connection)(lambda ws: classes.append(type(ws)))
    ) as here:
        client = here.open()
        assert client.recv_close() is not None
        client.send_frame(Opcode.CLOSE, b"\x03\xe8")
        client.close()
    assert classes == [Connection]


# A native thread's main greenlet, as gunicorn's gthread has it.


class Gthread:
    """gunicorn, as far as it answers one request."""

    def __init__(self) -> None:
        self.sock, self.client = get_original("socket", "socketpair")()
        self.client.sendall(REQUEST)

    def begin(self) -> tuple[Any, dict[str, Any]]:
        """Return gunicorn's response, and the environ of the request."""
        config, address = Config(), (HOST, 1)
        request = next(RequestParser(config, self.sock, address))
        response, environ = create(request, self.sock, address, (HOST, 80), config)
        return response, environ

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.sock.close()
        self.client.close()


@pytest.mark.parametrize("scoped", [True, False])
def test_end_of_a_request_in_a_thread(scoped: bool) -> None:
    """Whoever does not promise that the WebSocket ends before is told by the server."""

    def serve() -> tuple[State, State, bool]:
        response, environ = here.begin()
        ws = Mount().accept(environ, response.start_response, scoped=scoped)
        hub = gevent.get_hub()
        opened = ws.state
        response.close()
        returned = ws.state
        ws._leave()
        return opened, returned, hub.loop is None

    with Gthread() as here:
        end = State.OPEN if scoped else State.CLOSED
        assert in_thread(serve) == (State.OPEN, end, True)
        head, _, rest = here.client.recv(65536).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        # With a close frame, or without.
        assert rest + here.client.recv(100) == (b"\x88\x02\x03\xe9" if scoped else b"")


@pytest.mark.parametrize("scoped", [True, False])
def test_connection_that_cannot_be_made(scoped: bool) -> None:
    """The hub that the thread got for it goes, too."""
    hubs = []

    def create_connection(*args: Any, **kwargs: Any) -> Any:
        hubs.append(gevent.get_hub())
        raise ZeroDivisionError

    def serve() -> bool:
        response, environ = here.begin()
        mount = Mount(create_connection=create_connection)
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(ZeroDivisionError):
            # A connection that may outlive the request would have a descriptor of its own.
            mount.accept(environ, response.start_response, scoped=scoped)
        assert len(os.listdir("/proc/self/fd")) <= before
        return hubs[0].loop is None

    with Gthread() as here:
        assert in_thread(serve)
        # The socket is the server's as before.
        here.sock.sendall(b"sorry")
        assert here.client.recv(100) == b"sorry"
