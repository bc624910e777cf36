"""The doors of geventws.wsgi on each server: real processes, and the bytes on the wire."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.pool
import pytest
import websocket
import websockets.sync.client

from geventws import Opcode, State
from geventws.testing import RawClient
from geventws.wsgi import Gate, WebSocketMiddleware, accept, default_mount, websocket_app
from tests.interop.foreign import natively
from tests.net.support import HOST, PATIENCE, get, until
from tests.wsgi.support import (
    FORGOTTEN,
    GUNICORN,
    MATRIX,
    PYWSGI,
    SERVERS,
    THREADED,
    Process,
    foreign_tls,
    leak_rounds,
    running,
    served,
)

# `accept` in an application; the middleware; `accept` inside of the middleware.
DOORS = ["plain", "middleware", "view"]

NORMAL, GOING_AWAY, INTERNAL_ERROR = b"\x03\xe8", b"\x03\xe9", b"\x03\xf3"


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Process]:
    """A server with all doors; the last test of this module ends it."""
    patience = ["--graceful-timeout", "1"] if request.param in GUNICORN else []
    with running(request.param, "doors", *patience) as process:
        yield process


@pytest.fixture(params=DOORS)
def process(server: Process, request: pytest.FixtureRequest) -> Process:
    """One of its doors."""
    return server.through(request.param)


def frame(opcode: int, data: bytes) -> bytes:
    return RawClient.frame(None, opcode, data, mask=True)  # type: ignore[arg-type]


def expect_close(client: RawClient, data: bytes, answer: bool = True) -> None:
    """The server closes, and says nothing else: no HTTP, above all."""
    received = client.recv_frame()
    assert received is not None
    assert (received.opcode, received.data) == (Opcode.CLOSE, data)
    if answer:
        client.send_frame(Opcode.CLOSE, data)
    assert client.recv_frame() is None
    client.close()


def expect_log(process: Process, path: str, status: int = 101) -> None:
    process.wait_for(rf'"GET {process.prefix}{path} HTTP/1.1" {status} ')


def test_echo_with_early_bytes(process: Process) -> None:
    client = process.open(early=frame(Opcode.TEXT, b"early") + frame(Opcode.PING, b"p"))
    answers = {(f.opcode, f.data) for f in (client.recv_frame(), client.recv_frame()) if f}
    assert answers == {(Opcode.TEXT, b"early"), (Opcode.PONG, b"p")}
    client.send_frame(Opcode.BINARY, b"x" * 100_000)
    received = client.recv_frame()
    assert received is not None and received.data == b"x" * 100_000
    client.send_frame(Opcode.CLOSE, NORMAL + b"bye")
    expect_close(client, NORMAL + b"bye", answer=False)
    expect_log(process, "/echo")
    assert "Traceback" not in process.log


@pytest.mark.parametrize("size", [8190, 20_000, 200_000])
def test_many_early_bytes(process: Process, size: int) -> None:
    """More than the server's buffer holds, so that some of them are in the kernel, or in TLS."""
    client = process.open(early=frame(Opcode.BINARY, b"e" * size))
    received = client.recv_frame()
    assert received is not None and received.data == b"e" * size
    client.send_frame(Opcode.CLOSE, NORMAL)
    expect_close(client, NORMAL, answer=False)


def test_early_close(process: Process) -> None:
    client = process.open(early=frame(Opcode.TEXT, b"early") + frame(Opcode.CLOSE, NORMAL))
    received = client.recv_frame()
    assert received is not None and received.data == b"early"
    expect_close(client, NORMAL, answer=False)


def test_foreign_client(process: Process) -> None:
    """Whole conversations, by a library that knows nothing of us."""
    uri = f"{'wss' if process.tls else 'ws'}://{HOST}:{process.address[1]}{process.prefix}/echo"

    def converse() -> None:
        with websockets.sync.client.connect(uri, ssl=foreign_tls(process)) as ws:
            assert ws.protocol.extensions
            for message in ("Grüße", b"\x00\xff", "x" * 200_000, ["frag", "ments"]):
                ws.send(message)
                received = ws.recv()
                assert received == ("".join(message) if isinstance(message, list) else message)
            ws.ping().wait(PATIENCE)
        assert ws.close_code == 1000

    natively(converse)


def test_application_rejects(process: Process) -> None:
    """Plain HTTP; what follows is not taken for another request where we have a say."""
    client = process.ask("/reject", early=frame(Opcode.TEXT, b"too early"))
    response = client.recv_response()
    assert (response.status_code, response.body) == (403, b"not you")
    if process.door != "plain":
        client.recv_eof()
    client.close()
    expect_log(process, "/reject", 403)


def test_request_that_opens_no_websocket(process: Process) -> None:
    if process.door == "middleware":
        assert process.get("/echo")[0] == 404
        return
    status, body = process.get("/echo")
    assert (status, b"You need a WebSocket client" in body) == (426, True)


def test_handler_crashes(process: Process) -> None:
    client = process.open("/crash")
    client.send_frame(Opcode.TEXT, b"now")
    expect_close(client, INTERNAL_ERROR)
    process.wait_for("ValueError: crash on purpose")
    if process.door == "middleware" or process.server in PYWSGI:
        # gunicorn and Werkzeug log no request whose application raised.
        expect_log(process, "/crash")


def test_handler_is_killed(process: Process) -> None:
    """TCP ends at once, though the client answers nothing."""
    if process.door != "middleware" and process.server in THREADED:
        # It would end the server's thread.
        return
    client = process.open("/kill")
    client.send_frame(Opcode.TEXT, b"now")
    expect_close(client, GOING_AWAY, answer=False)
    if process.door == "middleware":
        expect_log(process, "/kill")


def test_second_accept(process: Process) -> None:
    """It is refused, and leaves the WebSocket alone."""
    if process.door == "middleware":
        # It answers by itself.
        assert process.get("/twice")[0] == 404
        return
    client = process.open("/twice")
    received = client.recv_frame()
    assert received is not None
    assert received.data.startswith(b"RuntimeError('accept() was called before in this request")
    expect_close(client, NORMAL)


def test_client_vanishes_behind_the_handshake(process: Process) -> None:
    """Whenever the server finds out, it is an ordinary end."""
    before = process.count()["connections"]
    for _ in range(10):
        process.ask().reset()
    until(lambda: process.count()["connections"] <= before)
    # Handlers find it closed, as `accept` does not.
    assert 'geventws/mount.py"' not in process.log


@pytest.mark.parametrize("how", ["close", "reset"])
def test_client_vanishes(process: Process, how: str) -> None:
    before = process.count()["connections"]
    client = process.open()
    client.send_frame(Opcode.TEXT, b"x")
    assert client.recv_frame() is not None
    getattr(client, how)()
    until(lambda: process.count()["connections"] <= before)


def test_protocol_error(process: Process) -> None:
    client = process.open()
    client.send_frame(Opcode.TEXT, b"not masked", mask=False)
    received = client.recv_frame()
    assert received is not None and received.data.startswith(b"\x03\xea")
    assert client.recv_frame() is None
    client.close()


def converse(process: Process, number: int) -> None:
    """One of many conversations: they end in every way there is."""
    path = "/crash" if number % 10 == 3 else "/echo"
    client = process.open(path, early=frame(Opcode.TEXT, b"%d" % number))
    if path == "/crash":
        expect_close(client, INTERNAL_ERROR)
        return
    received = client.recv_frame()
    assert received is not None and received.data == b"%d" % number
    if number % 10 == 5:
        client.reset()
    elif number % 10 == 7:
        client.close()
    else:
        client.send_frame(Opcode.CLOSE, NORMAL)
        expect_close(client, NORMAL, answer=False)


@pytest.mark.deadline(120)
def test_nothing_leaks(process: Process) -> None:
    """No socket, descriptor, hub, greenlet or connection stays after hundreds of connections."""
    pool = gevent.pool.Pool(10)

    def run(count: int) -> None:
        for greenlet in [pool.spawn(converse, process, n) for n in range(count)]:
            greenlet.get(timeout=100)

    # Threads, and what else is made once.
    run(30)
    before = process.count()
    run(leak_rounds(process))
    until(lambda: not process.holds_more_than(before))


def test_refused_handshake_leaves_no_hub(server: Process) -> None:
    if not server.threaded:
        return
    process = server.through("telling")
    client = process.connect()
    request = RawClient.request(path="/telling/echo")
    client.send_bytes(request.replace(b"Version: 13", b"Version: 12"))
    assert client.recv_response().status_code == 426
    client.close()
    assert process.wait_for(r"hub left: (\w+)").group(1) == "False"


@pytest.mark.parametrize("path", ["/forget", "/elsewhere", "/forget-and-crash"])
def test_hub_goes_with_the_request(server: Process, path: str) -> None:
    """A native thread may end with the request, or serve another one much later."""
    if not server.threaded or (path == "/forget-and-crash" and server.server in GUNICORN):
        # gunicorn tells nothing of such an end; the thread's next WebSocket ends the first.
        return
    process = server.through("plain")
    before = process.count()
    for _ in range(25):
        client = process.open(path)
        while client.recv_frame() is not None:
            pass
        client.close()
    until(lambda: not process.holds_more_than(before))


@pytest.mark.parametrize("server_name", ["gthread", "werkzeug"])
def test_garbage_is_collected_while_threads_end(server_name: str) -> None:
    """Clients that reset right behind the handshake, where no hub may be left for greenlet.

    It crashes over one that never ran, if its thread ends while another collects garbage.
    """
    with running(server_name) as process:
        before = process.count()
        for number in range(120):
            process.open().reset()
            if number % 10 == 0:
                # It collects garbage.
                process.count()
        assert process.process.poll() is None
        until(lambda: not process.holds_more_than({**before, "sockets": 10**6}))


@pytest.mark.deadline(120)
@pytest.mark.parametrize("path", ["/forget", "/elsewhere"])
def test_application_returns_without_closing(server: Process, path: str) -> None:
    """No byte reaches the wrong connection, 1,000 times, while others connect."""
    process = server.through("plain")
    # Threads, and what else is made once.
    for number in range(10):
        converse(process, number)
    before = process.count()
    stop = []

    def forget(number: int) -> None:
        client = process.open(path)
        client.send_bytes(frame(Opcode.TEXT, b"stray %d" % number))
        try:
            while (received := client.recv_frame()) is not None:
                assert received.data == b"from elsewhere"
        except ConnectionResetError:
            # Nobody has read what it sent.
            pass
        client.close()

    def echo(number: int) -> int:
        count = 0
        while not stop:
            count += 1
            early, later = b"early %d" % number, b"later %d" % count
            client = process.open(early=frame(Opcode.TEXT, early))
            assert (received := client.recv_frame()) and received.data == early
            client.send_frame(Opcode.TEXT, later)
            assert (received := client.recv_frame()) and received.data == later
            client.send_frame(Opcode.CLOSE, NORMAL)
            expect_close(client, NORMAL, answer=False)
        return count

    others = [gevent.spawn(echo, n) for n in range(2)]
    pool = gevent.pool.Pool(4)
    for greenlet in [pool.spawn(forget, n) for n in range(forgotten(process))]:
        greenlet.get(timeout=100)
    stop.append(True)
    assert all(other.get(timeout=PATIENCE) for other in others)
    until(lambda: not process.holds_more_than(before))


def forgotten(process: Process) -> int:
    """How often an application forgets its WebSocket, each of which takes a thread there."""
    full = process.server in MATRIX and not (process.threaded or process.tls)
    return FORGOTTEN if full else min(FORGOTTEN, 50)


def test_server_is_terminated(server: Process) -> None:
    """The clients' TCP connections end, and no HTTP gets into them."""
    process = server.through()
    clients = [process.open(f"/{door}/echo") for door in DOORS for _ in range(2)]
    process.process.send_signal(signal.SIGTERM)
    for client in clients:
        received = client.recv_frame()
        assert received is None or (received.opcode, received.data) == (
            Opcode.CLOSE,
            GOING_AWAY,
        )
        if received is not None:
            assert client.recv_frame() is None
        client.close()
    process.process.wait(timeout=PATIENCE)
    assert "Traceback" not in process.log


@pytest.mark.parametrize("name", ["wsgiref", "waitress"])
def test_impossible_server(name: str) -> None:
    with running(name, "plain") as process:
        assert process.get("/echo")[0] == 500
        process.wait_for(f"UnsupportedServer: {name} does not let applications have its socket")


def test_websocket_client_on_werkzeug() -> None:
    """Werkzeug adds a second Connection header, which this client takes for the only one."""
    with running("werkzeug", "plain") as process:

        def talk() -> str:
            ws = websocket.create_connection(f"ws://{HOST}:{process.address[1]}/echo")
            ws.send("x")
            received: str = ws.recv()
            ws.close()
            return received

        assert natively(talk) == "x"


# The middleware and its gate, on pywsgi in this process.


def view_of(then: Callable[[Any], Any]) -> Any:
    """An application inside of the middleware, whose view has a WebSocket."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        ws = accept(environ)
        ws.send("hello")
        return then(start_response)

    return WebSocketMiddleware(app)


def end_of(app: Any) -> bytes:
    """Open a WebSocket, which says hello; return the data of its close frame."""
    with served(app) as here:
        client = here.open()
        hello = client.recv_frame()
        assert hello is not None and hello.data == b"hello"
        close = client.recv_frame()
        assert close is not None and close.opcode is Opcode.CLOSE
        client.send_frame(Opcode.CLOSE, close.data)
        # Nothing that the framework made of the view's result is behind it.
        assert client.recv_eof()
        client.close()
        here.wait_for_log(101)
    return close.data


@pytest.mark.parametrize("status, code", [("200 OK", 1000), ("500 Oh", 1011)])
def test_response_of_a_view_that_had_a_websocket(status: str, code: int) -> None:
    closed = []

    class Result(list[bytes]):
        def close(self) -> None:
            closed.append(True)

    def then(start_response: Any) -> Result:
        start_response(status, [])(b"written")
        return Result([b"returned"])

    assert end_of(view_of(then)) == code.to_bytes(2)
    assert closed == [True]


@pytest.mark.parametrize(
    "exc, code, logged", [(ValueError("oh"), 1011, True), (gevent.GreenletExit(), 1001, False)]
)
def test_view_with_a_websocket_fails(
    exc: BaseException, code: int, logged: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def then(start_response: Any) -> None:
        raise exc

    assert end_of(view_of(then)) == code.to_bytes(2)
    assert ("ValueError: oh" in capsys.readouterr().err) is logged


def test_view_accepts_twice() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        ws = accept(environ)
        ws.send("hello")
        with pytest.raises(RuntimeError, match="was called before in this request"):
            accept(environ)
        return []

    assert end_of(WebSocketMiddleware(app)) == NORMAL


def test_gate_opens_one_connection() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        gate, mount = Gate(start_response), default_mount()
        one, other = (mount.connect(environ, start_response) for _ in range(2))
        gate.open(mount, *one)
        one[0].send("hello")
        with pytest.raises(RuntimeError, match="was called before in this request"):
            gate.open(mount, *other)
        assert other[0].state is State.CLOSED
        gate.close()
        # There is nothing more to close.
        gate.close()
        gate.abort(ValueError())
        return []

    assert end_of(app) == NORMAL


def test_refused_in_a_view(capsys: pytest.CaptureFixture[str]) -> None:
    """The client has its answer, whatever the framework makes of the exception."""
    app = WebSocketMiddleware(lambda environ, start_response: accept(environ))
    with served(app) as here:
        client = here.request(get())
        assert client.response is not None and client.response.status_code == 426
        assert client.recv_eof()
        client.close()
        here.wait_for_log(426)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("route", ["/room/ü", re.compile("/room/(?P<name>.+)")])
def test_routes(route: Any) -> None:
    names = []

    def room(ws: Any, name: str = "") -> None:
        names.append(name)
        ws.send("hello")

    def page(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "4")])
        return [b"page"]

    with served(WebSocketMiddleware(page, {"/other": print, route: room})) as here:
        client = here.open("/room/%C3%BC")
        hello = client.recv_frame()
        assert hello is not None and hello.data == b"hello"
        client.recv_close()
        client.close()
        # What no handler is there for, and what asks for none.
        for request in (RawClient.request(path="/elsewhere"), get("/room/%C3%BC")):
            client = here.request(request)
            assert client.response is not None and client.response.body == b"page"
            client.close()
    assert names == ["ü" if isinstance(route, re.Pattern) else ""]


def test_one_handler_for_all_paths() -> None:
    app = WebSocketMiddleware(print, lambda ws: ws.send("hello"))
    assert end_of(app) == NORMAL


def test_handler_as_an_application() -> None:
    @websocket_app
    def app(ws: Any) -> None:
        ws.send("hello")

    assert app.__name__ == "app"
    assert end_of(app) == NORMAL
    with served(app) as here:
        client = here.request(get())
        assert client.response is not None and client.response.status_code == 426
        client.close()


def test_killed_handler_of_an_application() -> None:
    @websocket_app(compression=None)
    def app(ws: Any) -> None:
        ws.send("hello")
        raise gevent.GreenletExit

    assert end_of(app) == GOING_AWAY
