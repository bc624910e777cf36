"""Tests of geventws.pywsgi: environ["wsgi.websocket"] on gevent's server."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventws import (
    ConnectionClosedError,
    InvalidHandshake,
    Opcode,
    ProtocolError,
    ServerConnection,
    State,
)
from geventws.net.hubs import get_hub_state
from geventws.net.mounted import MountedConnection
from geventws.pywsgi import WebSocketHandler, WebSocketServer
from geventws.testing import RawClient
from geventws.wsgi import WebSocketMiddleware, accept
from tests.net.support import PATIENCE, until
from tests.wsgi.support import Served, served

REQUEST = RawClient.request()

NORMAL, GOING_AWAY, INTERNAL_ERROR = b"\x03\xe8", b"\x03\xe9", b"\x03\xf3"


def serving(app: Any, **options: Any) -> Any:
    return served(app, handler_class=WebSocketHandler, **options)


def ok(start_response: Any, body: bytes = b"plain") -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]


def use(function: Callable[[Any], Any]) -> Any:
    """An application that does something with its WebSocket, and answers in HTTP all the same."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        function(environ["wsgi.websocket"])
        return ok(start_response, b"HTTP in the stream")

    return app


def echo(ws: Any) -> None:
    for message in ws:
        ws.send(message)


def expect_close(client: RawClient, data: bytes, answer: bool = True) -> None:
    received = client.recv_frame()
    assert received is not None
    assert (received.opcode, received.data) == (Opcode.CLOSE, data)
    if answer:
        client.send_frame(Opcode.CLOSE, data)
    assert client.recv_frame() is None
    client.close()


def check_nothing_left(here: Served) -> None:
    until(lambda: not [ws for ws in get_hub_state().streams if isinstance(ws, MountedConnection)])
    assert here.errors.getvalue() == ""


def test_echo() -> None:
    with serving(use(echo)) as here:
        client = here.open("/", RawClient.frame(None, Opcode.TEXT, b"early", mask=True))
        assert client.recv_frame().data == b"early"
        client.send_frame(Opcode.CLOSE, NORMAL)
        expect_close(client, NORMAL, answer=False)
        here.wait_for_log(101)
        check_nothing_left(here)


def test_plain_http_has_no_websocket() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        assert "wsgi.websocket" not in environ
        return ok(start_response)

    with serving(app) as here:
        client = here.request(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.response.body == b"plain"
        # And the connection stays open for another request.
        client.send_bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv_response().body == b"plain"
        client.close()
        here.wait_for_log(200, 200)


def test_application_answers_in_http() -> None:
    """What a client sends too early is not taken for another request."""
    seen = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        ws = environ["wsgi.websocket"]
        seen.extend(
            [ws.state, ws.path, ws.request_headers["Host"], isinstance(ws, ServerConnection)]
        )
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"not ", b"you"]

    with serving(app) as here:
        client = here.request(REQUEST + b"\x81\x00early")
        assert (client.response.status_code, client.response.body) == (403, b"not you")
        client.recv_eof()
        client.close()
        here.wait_for_log(403)
        check_nothing_left(here)
    assert seen == [State.CONNECTING, "/", "localhost", True]


@pytest.mark.parametrize(
    "first",
    [
        lambda ws: ws.recv(),
        lambda ws: next(ws.recv_streaming()),
        lambda ws: ws.send("x"),
        lambda ws: ws.ping(),
        lambda ws: ws.pong(),
        lambda ws: ws.wait_closed(0.001),
        lambda ws: ws.__enter__(),
        lambda ws: ws.accept().recv(),
        lambda ws: next(iter(ws)),
        lambda ws: ws.send(ws.recv()),
        lambda ws: ws.close if ws.subprotocol else None,
        lambda ws: ws.response.status_code == 101,
        lambda ws: ws.response_headers["Upgrade"],
    ],
)
def test_first_use_opens(first: Callable[[Any], Any]) -> None:
    states = []

    def handler(ws: Any) -> None:
        states.append(ws.state)
        first(ws)
        states.extend([ws.state, type(ws)])

    with serving(use(handler)) as here:
        client = here.open("/", RawClient.frame(None, Opcode.TEXT, b"x", mask=True))
        assert client.recv_close().data == NORMAL
        client.send_frame(Opcode.CLOSE, NORMAL)
        client.close()
        here.wait_for_log(101)
        assert here.errors.getvalue() == ""
    assert states == [State.CONNECTING, State.OPEN, MountedConnection]


def test_first_use_is_too_late() -> None:
    """Somebody has kept the connection; the request is over, answered in HTTP."""
    kept: list[Any] = []
    with serving(use(kept.append)) as here:
        client = here.request(REQUEST)
        assert client.response.status_code == 200
        client.close()
        here.wait_for_log(200)
    for first in (lambda: kept[0].recv(), lambda: kept[0].send("x")):
        with pytest.raises(ConnectionClosedError):
            first()
    assert kept[0].response is None


def test_close_first() -> None:
    with serving(use(lambda ws: ws.close(3000, "no"))) as here:
        expect_close(here.open(), b"\x0b\xb8no")
        here.wait_for_log(101)


def test_with_block() -> None:
    def handler(ws: Any) -> None:
        with ws as entered:
            assert entered is ws
            ws.send("x")
        assert ws.state is State.CLOSED

    with serving(use(handler)) as here:
        client = here.open()
        assert client.recv_frame().data == b"x"
        expect_close(client, NORMAL)
        check_nothing_left(here)


def test_generator_application() -> None:
    """Its body runs when the server iterates over what it returned."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        echo(environ["wsgi.websocket"])
        yield b"HTTP in the stream"

    with serving(app) as here:
        client = here.open()
        client.send_frame(Opcode.TEXT, b"x")
        assert client.recv_frame().data == b"x"
        client.send_frame(Opcode.CLOSE, NORMAL)
        expect_close(client, NORMAL, answer=False)
        here.wait_for_log(101)
        check_nothing_left(here)


def test_write_of_http_in_vain() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.websocket"].send("x")
        start_response("200 OK", [])(b"HTTP in the stream")
        return []

    with serving(app) as here:
        client = here.open()
        assert client.recv_frame().data == b"x"
        expect_close(client, NORMAL)
        here.wait_for_log(101)


def test_request_that_opens_no_websocket() -> None:
    """The application that uses it all the same is told, and need not care."""
    raised = []

    def handler(ws: Any) -> None:
        try:
            ws.recv()
        except InvalidHandshake as exc:
            raised.append(type(exc).__name__)
            raise

    with serving(use(handler)) as here:
        client = here.request(REQUEST.replace(b"Version: 13", b"Version: 8"))
        assert client.response.status_code == 426
        assert client.recv_eof()
        client.close()
        here.wait_for_log(426)
        check_nothing_left(here)
    assert raised == ["InvalidHeaderValue"]


@pytest.mark.parametrize("used", [False, True])
def test_application_crashes(used: bool) -> None:
    def handler(ws: Any) -> None:
        if used:
            ws.send("x")
        raise ValueError("on purpose")

    with serving(use(handler)) as here:
        client = here.request(REQUEST)
        if used:
            assert client.recv_frame().data == b"x"
            expect_close(client, INTERNAL_ERROR)
        else:
            assert client.response.status_code == 500
            client.close()
        here.wait_for_log(101 if used else 500)


def test_accept_in_an_application_beside_it() -> None:
    """`accept` works, too, and the WebSocket that nobody uses goes away."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with accept(environ, start_response) as ws:
            echo(ws)
            with pytest.raises(RuntimeError, match="accept\\(\\) was called before"):
                environ["wsgi.websocket"].send("x")
        return []

    with serving(app) as here:
        client = here.open()
        client.send_frame(Opcode.TEXT, b"x")
        assert client.recv_frame().data == b"x"
        client.send_frame(Opcode.CLOSE, NORMAL)
        expect_close(client, NORMAL, answer=False)
        check_nothing_left(here)


def test_options_of_the_handler_class() -> None:
    class Handler(WebSocketHandler):
        websocket_options = {"max_size": 10, "subprotocols": ["chat"]}

    with served(use(echo), handler_class=Handler) as here:
        client = here.request(RawClient.request([("Sec-WebSocket-Protocol", "chat")]))
        assert client.response.headers["Sec-WebSocket-Protocol"] == "chat"
        client.send_frame(Opcode.BINARY, b"x" * 11)
        assert client.recv_close().data.startswith(b"\x03\xf1")
        client.close()


class Connection(MountedConnection):
    """What a user makes of connections."""


def test_create_connection() -> None:
    classes = []
    options = {"create_connection": Connection}

    def handler(ws: Any) -> None:
        ws.send("x")
        classes.append(type(ws))

    with served(use(handler), server_class=WebSocketServer, websocket_options=options) as here:
        client = here.open()
        client.recv_close()
        client.close()
        until(lambda: classes == [Connection])


def test_create_connection_must_be_a_class() -> None:
    options = {"create_connection": lambda *args, **kwargs: MountedConnection(*args, **kwargs)}
    with served(use(echo), server_class=WebSocketServer, websocket_options=options) as here:
        assert here.request(REQUEST).response.status_code == 500


# WebSocketServer.


class Waiting:
    """An application whose requests last until the test lets them go."""

    def __init__(self, heeds: bool) -> None:
        self.heeds = heeds
        self.done = Event()
        self.ended: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        ws = environ["wsgi.websocket"]
        ws.send("open")
        try:
            if self.heeds:
                ws.recv()
            else:
                self.done.wait()
        except ConnectionClosedError:
            self.ended.append("closed")
        except gevent.GreenletExit:
            self.ended.append("killed")
            raise
        else:
            self.ended.append("returned")
        return []


def test_server_says_goodbye() -> None:
    app = Waiting(heeds=True)
    with served(app, server_class=WebSocketServer) as here:
        clients = [here.open() for _ in range(3)]
        for client in clients:
            assert client.recv_frame().data == b"open"
        server = here.server
        assert len(server.connections) == 3
        assert {ws.server for ws in server.connections} == {server}
        stopping = gevent.spawn(server.stop, code=1012, reason="restart")
        for client in clients:
            expect_close(client, b"\x03\xf4restart")
        stopping.get(timeout=PATIENCE)
        assert not server.started and not server.connections
        here.wait_for_log(101, 101, 101)
    assert app.ended == ["closed"] * 3


def test_server_kills_whoever_does_not_hear() -> None:
    app = Waiting(heeds=False)
    with served(app, server_class=WebSocketServer) as here:
        client = here.open()
        assert client.recv_frame().data == b"open"
        here.server.stop(timeout=0.05)
        expect_close(client, GOING_AWAY, answer=False)
    assert app.ended == ["killed"]


def test_server_stops_from_a_request() -> None:
    def handler(ws: Any) -> None:
        ws.send("x")
        ws.server.stop(timeout=0.05)

    with served(use(handler), server_class=WebSocketServer) as here:
        client = here.open()
        assert client.recv_frame().data == b"x"
        assert client.recv_close().data == GOING_AWAY
        client.send_frame(Opcode.CLOSE, GOING_AWAY)
        client.close()
        until(lambda: not here.server._requests)


def test_server_checks_the_close_code_first() -> None:
    with served(Waiting(True), server_class=WebSocketServer) as here:
        with pytest.raises(ProtocolError):
            here.server.stop(code=1005)
        assert here.server.started


def test_server_checks_options_first() -> None:
    with pytest.raises(ValueError, match="unsupported compression"):
        WebSocketServer(("127.0.0.1", 0), None, websocket_options={"compression": "lzma"})


def test_middleware_inside() -> None:
    """Both doors in one house: the inner one opens."""
    app = WebSocketMiddleware(lambda environ, start_response: ok(start_response), echo)
    with serving(app) as here:
        client = here.open()
        client.send_frame(Opcode.TEXT, b"x")
        assert client.recv_frame().data == b"x"
        client.send_frame(Opcode.CLOSE, NORMAL)
        expect_close(client, NORMAL, answer=False)
        here.wait_for_log(101)
        check_nothing_left(here)
