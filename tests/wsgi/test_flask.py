"""`geventws.flask.Sock` on each server: real processes, raw and foreign clients."""

from __future__ import annotations

import importlib
import json
import re
import signal
import sys
from collections.abc import Iterator
from typing import Any

import flask
import gevent.pool
import pytest
from flask import Blueprint, Flask
from websockets.sync.client import connect as foreign_connect

import geventws.flask
from geventws import Opcode
from geventws.flask import Sock
from geventws.hosts import UnsupportedServer
from geventws.testing import RawClient
from tests.net.support import PATIENCE, until
from tests.wsgi.support import (
    GUNICORN,
    PYWSGI,
    SERVERS,
    THREADED,
    Process,
    foreign_tls,
    leak_rounds,
    running,
    served,
)

APP = "tests.wsgi.flask_app:app"

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Process]:
    """A server; the last test that uses it ends it."""
    patience = ["--graceful-timeout", "1"] if request.param in GUNICORN else []
    with running(request.param, APP, *patience) as process:
        yield process


@pytest.fixture
def process(server: Process) -> Process:
    return server.through()


def receive(client: RawClient, opcode: Opcode = Opcode.TEXT) -> bytes:
    frame = client.recv_frame()
    assert frame is not None and frame.opcode is opcode, frame
    return bytes(frame.data)


def assert_closed(client: RawClient, payload: bytes) -> None:
    """The server closes with this, and says nothing else, HTTP least of all."""
    assert receive(client, Opcode.CLOSE) == payload
    client.send_frame(Opcode.CLOSE, payload)
    assert client.recv_frame() is None
    client.close()


def holds_nothing(process: Process) -> bool:
    """No request of the server has a WebSocket any more."""
    return process.count()["connections"] == 0


def assert_answered(client: RawClient, status: int, body: bytes) -> None:
    """The server answers in plain HTTP."""
    client.response = client.recv_response()
    assert client.response.status_code == status
    assert body in client.response.body
    client.close()


def test_echo_with_early_bytes(process: Process) -> None:
    early = RawClient.frame(None, Opcode.TEXT, b"early", mask=True)
    client = process.open("/echo", early=early)
    assert receive(client) == b"early"
    client.send_frame(Opcode.BINARY, b"x" * 100_000)
    assert receive(client, Opcode.BINARY) == b"x" * 100_000
    client.send_frame(Opcode.CLOSE, b"\x03\xe8bye")
    assert receive(client, Opcode.CLOSE) == b"\x03\xe8bye"
    # No response of Flask's behind the close frame.
    assert client.recv_frame() is None
    client.close()
    process.wait_for(r'"GET /echo HTTP/1.1" 101 ')
    process.wait_for("teardown /echo NoneType")


@pytest.mark.parametrize("when", ["before", "after"])
def test_client_vanishes(process: Process, when: str) -> None:
    client = process.open("/echo")
    if when == "after":
        client.send_frame(Opcode.TEXT, b"hello")
        assert receive(client) == b"hello"
    client.reset()
    process.wait_for("teardown /echo ")
    until(lambda: holds_nothing(process))
    assert not re.search("Exception on /echo", process.log)


def test_foreign_client(process: Process) -> None:
    uri = f"{'wss' if process.tls else 'ws'}://localhost:{process.address[1]}/echo"
    with foreign_connect(uri, ssl=foreign_tls(process)) as ws:
        ws.send("x" * 10_000)
        assert ws.recv() == "x" * 10_000
    assert ws.close_code == 1000


def test_names_of_flask_sock(process: Process) -> None:
    client = process.open("/as-with-flask-sock")
    assert receive(client) == b"nothing came"
    client.send_frame(Opcode.TEXT, b"hello")
    while (data := receive(client)) == b"nothing came":
        pass
    assert data == b"hello"
    client.send_frame(Opcode.TEXT, b"bye")
    while (frame := client.recv_frame()) is not None and frame.data == b"nothing came":
        pass
    assert frame is not None and frame.data == b"\x0f\xa0see you"
    client.send_frame(Opcode.CLOSE, frame.data)
    assert client.recv_frame() is None
    client.close()


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/reject", 403, b"not you"),
        ("/echo?invited=no", 401, b"who are you"),
        ("/elsewhere", 302, b"/echo"),
        ("/rooms/closed", 404, b""),
        ("/nowhere", 404, b""),
        ("/crash-early", 500, b""),
        # A path that is no WebSocket.
        ("/page", 400, b""),
    ],
)
def test_application_answers_in_http(process: Process, path: str, status: int, body: bytes) -> None:
    assert_answered(process.ask(path), status, body)
    process.wait_for(rf'"GET {path.replace("?", "[?]")} HTTP/1.1" {status} ')
    until(lambda: holds_nothing(process))


def test_request_that_is_none_for_a_websocket(process: Process) -> None:
    status, body = process.get("/echo")
    assert status == 426
    assert b"WebSocket" in body
    assert process.get("/page") == (200, b"a page")


def test_upgrade_lost_in_a_proxy(process: Process) -> None:
    client = process.connect()
    request = RawClient.request(path="/echo")
    client.send_bytes(request.replace(b"Upgrade: websocket\r\n", b""))
    assert_answered(client, 426, b"proxy")


def test_bad_handshake(process: Process) -> None:
    client = process.connect()
    request = RawClient.request(path="/echo")
    client.send_bytes(request.replace(b"Version: 13", b"Version: 12"))
    assert_answered(client, 426, b"12")


@pytest.mark.parametrize(
    "path", ["/abort-later", "/crash", "/kill", "/other-connection", "/other-handshake"]
)
def test_view_fails(process: Process, path: str) -> None:
    if path == "/kill" and process.server in THREADED:
        # Nothing kills greenlets there, and the exception ends a native thread.
        return
    client = process.open(path)
    client.send_frame(Opcode.TEXT, b"now")
    payload = {"/abort-later": b"\x03\xf0403 Forbidden", "/kill": b"\x03\xe9"}
    assert_closed(client, payload.get(path, b"\x03\xf3"))
    if path == "/crash":
        process.wait_for("ERROR.*Exception on /crash")
        process.wait_for("ValueError: crash on purpose")
    process.wait_for(f"teardown {path} ")
    if path != "/kill" or process.server in PYWSGI:
        process.wait_for(rf'"GET {path} HTTP/1.1" 101 ')


def test_view_that_does_not_use_it(process: Process) -> None:
    assert_closed(process.open("/at-once"), b"\x03\xe8")


def test_other_greenlet_opens_it(process: Process) -> None:
    if process.server in THREADED:
        # Each thread's hub runs only while its main greenlet waits in geventws.
        return
    client = process.open("/helper")
    assert receive(client) == b"from another greenlet"
    client.send_frame(Opcode.TEXT, b"hello")
    assert receive(client) == b"hello"
    assert_closed(client, b"\x03\xe8")


def test_session(process: Process) -> None:
    """The handshake's response sets the cookie."""
    cookie = ""
    for visits in (1, 2, 3):
        client = process.open("/session?visit=1", headers=[("Cookie", cookie)] if cookie else [])
        assert client.response is not None
        cookie = client.response.headers["Set-Cookie"].split(";")[0]
        assert json.loads(receive(client)) == visits
        assert_closed(client, b"\x03\xe8")
    client = process.open("/session", headers=[("Cookie", cookie)])
    assert client.response is not None
    assert "Set-Cookie" not in client.response.headers
    assert json.loads(receive(client)) == 3
    assert_closed(client, b"\x03\xe8")


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/users/41/a/b?q=%C3%BC", "42 a/b ü"),
        ("/rooms/blue", "room blue"),
        ("/late", "late"),
        ("/subprotocol", "None"),
    ],
)
def test_routes(process: Process, path: str, data: str) -> None:
    client = process.open(path)
    assert receive(client) == data.encode()
    assert_closed(client, b"\x03\xe8")


def use_up(process: Process, number: int) -> None:
    """One of many requests: they end in every way there is."""
    path = ("/echo", "/reject", "/crash", "/at-once", "/abort-later")[number % 5]
    client = process.ask(path)
    client.recv_response()
    if path == "/crash":
        client.send_frame(Opcode.TEXT, b"now")
        assert_closed(client, b"\x03\xf3")
    elif path == "/echo":
        client.reset()
    else:
        client.close()


@pytest.mark.deadline(120)
def test_nothing_leaks(process: Process) -> None:
    """No socket, descriptor, hub, greenlet or connection stays after hundreds of connections."""
    pool = gevent.pool.Pool(10)

    def run(count: int) -> None:
        for greenlet in [pool.spawn(use_up, process, n) for n in range(count)]:
            greenlet.get(timeout=100)

    # Threads, and what else is made once.
    run(30)
    until(lambda: holds_nothing(process))
    before = process.count()
    run(leak_rounds(process))
    until(lambda: not process.holds_more_than(before))


def test_server_gets_term(server: Process) -> None:
    process = server.through()
    client = process.open("/echo")
    client.send_frame(Opcode.TEXT, b"hello")
    assert receive(client) == b"hello"
    process.process.send_signal(signal.SIGTERM)
    said = []
    try:
        while (frame := client.recv_frame()) is not None:
            said.append((frame.opcode, frame.data))
    except ConnectionResetError:
        # Its process is gone.
        pass
    # Where the server lets its handlers end, they say goodbye; HTTP nowhere.
    assert said in ([], [(Opcode.CLOSE, b"\x03\xe9")])
    assert said or not process.server.startswith("worker")
    process.process.wait(timeout=PATIENCE)
    client.close()


# Without a server.


def make_app(**config: Any) -> tuple[Flask, Sock]:
    app = Flask("app")
    app.config.update(config)
    return app, Sock(app)


def test_test_client_says_what_to_do() -> None:
    app, sock = make_app(TESTING=True)
    sock.route("/echo")(lambda ws: ws.recv())
    client = app.test_client()
    with pytest.raises(UnsupportedServer, match="test client has no socket.*geventws.connect"):
        client.get("/echo", headers=UPGRADE)
    response = client.get("/echo")
    assert response.status_code == 426
    assert response.headers["Upgrade"] == "websocket"
    app.testing = False
    assert client.get("/echo", headers=UPGRADE).status_code == 500


def test_route_returns_the_view() -> None:
    _, sock = make_app()

    def view(ws: Any) -> None:
        """It can be called by tests."""

    assert sock.route("/view")(view) is view


def test_wrong_option() -> None:
    with pytest.raises(TypeError, match="max_sizes"):
        Sock(max_sizes=3)


def test_options_of_flask_sock() -> None:
    options = {"subprotocols": "chat", "max_message_size": 100, "receive_bytes": 4096}
    app, sock = make_app(SOCK_SERVER_OPTIONS=options)
    sock.route("/echo")(lambda ws: ws.send(ws.subprotocol + ws.recv()))
    with served(app) as here:
        offer = [("Sec-WebSocket-Protocol", "chat")]
        client = here.open("/echo", headers=offer)
        assert client.response is not None
        assert client.response.headers["Sec-WebSocket-Protocol"] == "chat"
        client.send_frame(Opcode.TEXT, b" hello")
        assert receive(client) == b"chat hello"
        client.close()
        client = here.open("/echo", headers=offer)
        client.send_frame(Opcode.TEXT, b"x" * 101)
        assert receive(client, Opcode.CLOSE)[:2] == b"\x03\xf1"
        client.close()


def test_options_of_the_constructor() -> None:
    app, _ = make_app()
    sock = Sock(app, max_size=10)
    sock.route("/echo")(lambda ws: ws.send(ws.recv()))
    with served(app) as here:
        client = here.open("/echo")
        client.send_frame(Opcode.TEXT, b"x" * 11)
        assert receive(client, Opcode.CLOSE)[:2] == b"\x03\xf1"
        client.close()
        # The configuration comes first, and may change.
        app.config["SOCK_SERVER_OPTIONS"] = {"max_size": 11}
        client = here.open("/echo")
        client.send_frame(Opcode.TEXT, b"x" * 11)
        assert receive(client) == b"x" * 11
        client.close()


def test_blueprint_without_init_app() -> None:
    sock, bp, app = Sock(), Blueprint("bp", __name__), Flask("app")
    sock.route("/hello", bp=bp)(lambda ws: ws.send("hello"))
    app.register_blueprint(bp)
    with served(app) as here:
        client = here.open("/hello")
        assert receive(client) == b"hello"
        assert_closed(client, b"\x03\xe8")


def test_one_sock_for_two_applications() -> None:
    sock = Sock()
    sock.route("/hello")(lambda ws: ws.send("hello"))
    for name in ("one", "two"):
        app = Flask(name)
        sock.init_app(app)
        with served(app) as here:
            client = here.open("/hello")
            assert receive(client) == b"hello"
            assert_closed(client, b"\x03\xe8")


def test_view_outside_of_the_middleware() -> None:
    app, sock = make_app(TESTING=True)
    sock.route("/echo")(lambda ws: ws.recv())
    app.wsgi_app = Flask.wsgi_app.__get__(app)  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="call init_app"):
        app.test_client().get("/echo", headers=UPGRADE)


def test_connection_that_was_answered_in_http() -> None:
    """Who kept it finds it closed."""
    app, sock = make_app()
    kept: list[Any] = []

    @sock.route("/reject")
    def reject(ws: Any) -> tuple[str, int]:
        kept.append(ws)
        return "no", 403

    with served(app) as here:
        client = here.request(RawClient.request(path="/reject"))
        assert client.response is not None and client.response.status_code == 403
        client.close()
    assert not kept[0].connected
    with pytest.raises(geventws.flask.ConnectionClosed):
        kept[0].send("hello")


def test_headers_of_options_and_session() -> None:
    app, _ = make_app(SECRET_KEY="no secret")
    sock = Sock(app, additional_headers={"X-Served-By": "geventws"})

    @sock.route("/hello")
    def hello(ws: Any) -> None:
        flask.session["seen"] = True
        ws.send("hello")

    with served(app) as here:
        client = here.open("/hello")
        assert client.response is not None
        assert client.response.headers["X-Served-By"] == "geventws"
        assert client.response.headers["Set-Cookie"].startswith("session=")
        client.close()


def test_flask_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flask.sansio.app", None)
    with pytest.raises(ImportError, match=r"pip install 'geventws\[flask\]'"):
        importlib.reload(geventws.flask)
