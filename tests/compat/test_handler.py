"""The handler of gevent-websocket's programs: who gets a WebSocket, and its hooks."""

from __future__ import annotations

import gc
import logging
import socket as stdlib_socket
import weakref
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import Event
from gevent.pywsgi import WSGIServer

from geventws import Opcode
from geventws.compat.geventwebsocket.handler import Client, WebSocketHandler
from geventws.compat.geventwebsocket.websocket import WebSocket
from geventws.testing import RawClient
from tests.net.support import PATIENCE, until
from tests.wsgi.support import served

TEXT = [("Content-Type", "text/plain")]


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Echo one message, by HTTP say what there is."""
    if "wsgi.websocket" not in environ:
        start_response("200 OK", TEXT)
        return [b"plain HTTP"]
    ws = environ["wsgi.websocket"]
    ws.send(ws.receive())
    # What frameworks do with the result of a view: nobody must see it.
    start_response("200 OK", TEXT)(b"never sent")
    return [b"never sent"]


def say(client: RawClient, data: bytes) -> bytes:
    """Send a message; return the answer."""
    client.send_frame(Opcode.TEXT, data)
    frame = client.recv_frame()
    assert frame is not None
    return frame.data


def assert_closed(client: RawClient, code: int) -> None:
    frame = client.recv_frame()
    assert frame is not None and frame.opcode is Opcode.CLOSE
    assert int.from_bytes(frame.data, "big") == code
    client.send_frame(Opcode.CLOSE, frame.data)
    assert client.recv_frame() is None
    client.close()


def request(*, method: str = "GET", version: str = "1.1", **headers: str | None) -> bytes:
    """A request for a WebSocket, changed; None leaves a header out."""
    lines = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = [f"{method} / HTTP/{version}", *(f"{k}: {v}" for k, v in lines.items() if v is not None)]
    return "\r\n".join([*head, "", ""]).encode()


def test_early_bytes_and_nothing_but_frames() -> None:
    early = RawClient.frame(None, Opcode.TEXT, b"early", mask=True)
    with served(app, handler_class=WebSocketHandler) as server:
        client = server.open("/", early)
        frame = client.recv_frame()
        assert frame is not None and frame.data == b"early"
        assert_closed(client, 1000)
        server.wait_for_log(101)
        assert not server.errors.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        request(method="POST", Content_Length="0"),
        request(Upgrade=None, Connection=None),
        request(Upgrade="h2c"),
        request(Connection="keep-alive"),
    ],
)
def test_requests_that_are_plain_http(data: bytes) -> None:
    with served(app, handler_class=WebSocketHandler) as server:
        client = server.request(data)
        assert client.response is not None
        assert (client.response.status_code, client.response.body) == (200, b"plain HTTP")
        client.close()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(Sec_WebSocket_Version=None), 426),
        (request(Sec_WebSocket_Version="7"), 426),
        (request(Sec_WebSocket_Key=None), 400),
        (request(Sec_WebSocket_Key="short"), 400),
        (request(version="1.0"), 505),
    ],
)
def test_requests_that_are_refused(data: bytes, status: int) -> None:
    with served(app, handler_class=WebSocketHandler) as server:
        client = server.request(data)
        assert client.response is not None and client.response.status_code == status
        assert client.response.body
        assert client.recv_eof()
        server.wait_for_log(status)
        client.close()


def test_application_returns_nothing_or_a_generator() -> None:
    done = Event()

    def generator(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/none":
            return None
        return lazy(environ["wsgi.websocket"])

    def lazy(ws: WebSocket) -> Any:
        try:
            yield b""
            ws.send(ws.receive())
            yield b""
        finally:
            done.set()

    with served(generator, handler_class=WebSocketHandler) as server:
        assert_closed(server.open("/none"), 1000)
        client = server.open("/")
        assert say(client, b"text") == b"text"
        assert_closed(client, 1000)
        assert done.is_set()


def test_application_crashes() -> None:
    def crash(environ: dict[str, Any], start_response: Any) -> None:
        raise ValueError("crash on purpose")

    with served(crash, handler_class=WebSocketHandler) as server:
        assert_closed(server.open(), 1011)
        server.wait_for_log(101)


def test_application_reports_a_crash_as_frameworks_do() -> None:
    def crash(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("500 Internal Server Error", TEXT, None)
        return [b"sorry"]

    with served(crash, handler_class=WebSocketHandler) as server:
        assert_closed(server.open(), 1011)


def test_request_is_killed() -> None:
    def wait(environ: dict[str, Any], start_response: Any) -> None:
        greenlets.append(gevent.getcurrent())
        environ["wsgi.websocket"].receive()

    greenlets: list[Any] = []
    with served(wait, handler_class=WebSocketHandler) as server:
        client = server.open()
        until(lambda: greenlets)
        gevent.kill(greenlets[0])
        frame = client.recv_frame()
        assert frame is not None and frame.data == b"\x03\xe9"
        assert client.recv_frame() is None
        client.close()


# Clients.


def clients_app(environ: dict[str, Any], start_response: Any) -> None:
    """Say who is here, until the client closes."""
    ws = environ["wsgi.websocket"]
    handler = ws.handler
    assert handler.active_client.ws is ws
    assert handler.server.clients[handler.active_client.address] is handler.active_client
    while (name := ws.receive()) is not None:
        handler.active_client.name = name
        clients = handler.server.clients.values()
        ws.send(" ".join(sorted(getattr(client, "name", "?") for client in clients)))


def test_clients() -> None:
    with served(clients_app, handler_class=WebSocketHandler) as server:
        ann, bob = server.open(), server.open()
        addresses = {client.sock.getsockname() for client in (ann, bob)}
        until(lambda: len(server.server.clients) == 2)
        assert say(ann, b"Ann") == b"? Ann"
        assert set(server.server.clients) == addresses
        assert all(isinstance(client, Client) for client in server.server.clients.values())
        assert say(bob, b"Bob") == b"Ann Bob"
        ann.close()
        bob.close()
        until(lambda: not server.server.clients)


@pytest.mark.skipif(not hasattr(stdlib_socket, "AF_UNIX"), reason="no Unix sockets here")
def test_clients_at_a_unix_socket(tmp_path: Any) -> None:
    """They have no address; gevent-websocket let the second one replace the first."""
    path = str(tmp_path / "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    server = WSGIServer(listener, clients_app, log=None, handler_class=WebSocketHandler)
    server.start()
    try:
        ann, bob = (RawClient(path) for _ in range(2))
        until(lambda: len(server.clients) == 2)
        ann.send_frame(Opcode.TEXT, b"Ann")
        assert ann.recv_frame() is not None or True
        assert say(bob, b"Bob") == b"Ann Bob"
        ann.close()
        until(lambda: len(server.clients) == 1)
        assert say(bob, b"Bob") == b"Bob"
        bob.close()
        until(lambda: not server.clients)
    finally:
        server.stop()


def test_nothing_refers_to_a_websocket_that_is_over() -> None:
    seen: list[Any] = []

    def remember(environ: dict[str, Any], start_response: Any) -> None:
        ws = environ["wsgi.websocket"]
        seen.append(weakref.ref(ws))
        seen.append(weakref.ref(ws.connection))
        ws.receive()

    # What pytest keeps of the log would refer to them.
    logger = logging.Logger("unheard", logging.getLogger("geventws").getEffectiveLevel())
    handler = type("Handler", (WebSocketHandler,), {"websocket_options": {"logger": logger}})
    with served(remember, handler_class=handler) as server:
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                server.open().close()
            until(lambda: len(seen) == 40 and not any(ref() for ref in seen))
        finally:
            gc.enable()


# Hooks.


def test_pre_start_hook() -> None:
    with served(app, handler_class=WebSocketHandler) as server:
        seen: list[Any] = []
        server.server.pre_start_hook = lambda handler: seen.append(handler) or True
        client = server.request(request())
        assert client.response is not None and client.response.body == b"plain HTTP"
        assert isinstance(seen[0], WebSocketHandler)
        client.close()
        server.server.pre_start_hook = lambda handler: False
        client = server.open()
        assert say(client, b"text") == b"text"
        client.close()


def test_upgrade_websocket_may_refuse() -> None:
    class Handler(WebSocketHandler):
        def upgrade_websocket(self) -> Any:
            if self.environ["PATH_INFO"] == "/secret":
                self.start_response("403 Forbidden", TEXT)
                return ["not you"]
            return super().upgrade_websocket()

    with served(app, handler_class=Handler) as server:
        client = server.request(RawClient.request(path="/secret"))
        assert client.response is not None
        assert (client.response.status_code, client.response.body) == (403, b"not you")
        assert client.recv_eof()
        client.close()
        client = server.open("/")
        assert say(client, b"text") == b"text"
        client.close()


def test_prevent_wsgi_call() -> None:
    """Socket.IO's servers opened the WebSocket by us, and ran it themselves."""

    class Handler(WebSocketHandler):
        prevent_wsgi_call = True

        def run_application(self) -> None:
            super().run_application()
            assert self.websocket is not None
            self.websocket.send(self.websocket.receive())
            self.websocket.close(4000)

    with served(app, handler_class=Handler) as server:
        client = server.open()
        assert say(client, b"text") == b"text"
        frame = client.recv_frame()
        assert frame is not None and frame.data == b"\x0f\xa0"
        client.close()


def test_websocket_class_and_options() -> None:
    class Loud(WebSocket):
        def receive(self) -> Any:
            message = super().receive()
            return message.upper() if isinstance(message, str) else message

    class Handler(WebSocketHandler):
        websocket_class = Loud
        websocket_options = {"max_size": 10}

    with served(app, handler_class=Handler) as server:
        client = server.open()
        assert say(client, b"text") == b"TEXT"
        client.close()
        client = server.open()
        client.send_frame(Opcode.TEXT, b"x" * 11)
        frame = client.recv_frame()
        assert frame is not None and frame.data[:2] == b"\x03\xf1"
        client.close()


def test_websocket_class_that_fails() -> None:
    class Broken(WebSocket):
        def __init__(self, *args: Any) -> None:
            raise ValueError("broken on purpose")

    handler = type("Handler", (WebSocketHandler,), {"websocket_class": Broken})
    with served(app, handler_class=handler) as server:
        assert_closed(server.open(), 1011)
        server.wait_for_log(101)


def test_override_that_leaves_the_websocket_open() -> None:
    """It is lost when the request ends, whoever uses it."""

    class Handler(WebSocketHandler):
        def run_websocket(self) -> None:
            left.append(self.websocket)
            receivers.append(gevent.spawn(self.websocket.receive))  # type: ignore[union-attr]
            gevent.sleep(0)

    left: list[Any] = []
    receivers: list[Any] = []
    with served(app, handler_class=Handler) as server:
        for _ in range(20):
            client = server.open()
            assert client.recv_eof()
            client.close()
        gevent.joinall(receivers, timeout=PATIENCE)
        assert [receiver.value for receiver in receivers] == [None] * 20
        assert all(ws.closed for ws in left)


def test_configure_checks_options() -> None:
    handler = type("Handler", (WebSocketHandler,), {})
    handler.configure({"max_size": 5})
    assert handler.websocket_options == {"max_size": 5}
    assert WebSocketHandler.websocket_options == {}
    with pytest.raises(TypeError):
        handler.configure({"unknown": 5})
    assert handler.websocket_options == {"max_size": 5}


def test_logger_is_the_servers() -> None:
    def use_logger(environ: dict[str, Any], start_response: Any) -> None:
        assert environ["wsgi.websocket"].logger is environ["wsgi.websocket"].handler.server.logger

    with served(use_logger, handler_class=WebSocketHandler) as server:
        assert_closed(server.open(), 1000)
        assert server.server.logger.name == "geventwebsocket.handler"


@pytest.mark.parametrize(
    ("wanted", "offered", "selected"),
    [("b", "a, b", "b"), ("c", "a, b", None), ("", "a, b", None), ("a", "aa", None)],
)
def test_subprotocol(wanted: str, offered: str, selected: str | None) -> None:
    class Application:
        def app_protocol(self, path: str) -> str:
            return {"/path": wanted}[path]

        def __call__(self, environ: dict[str, Any], start_response: Any) -> None:
            assert environ["wsgi.websocket"].protocol == offered

    with served(Application(), handler_class=WebSocketHandler) as server:
        client = server.open("/path", headers=[("Sec-WebSocket-Protocol", offered)])
        assert client.response is not None
        assert client.response.headers.get("Sec-WebSocket-Protocol") == selected
        assert_closed(client, 1000)


def test_tls() -> None:
    with served(app, tls=True, handler_class=WebSocketHandler) as server:
        client = server.open()
        assert say(client, b"text") == b"text"
        client.close()
