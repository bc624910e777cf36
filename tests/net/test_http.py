"""HTTP beside WebSocket: one port, and a WSGI application."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.monkey import get_original

import geventws.wsgi
from geventws import Opcode, connect, serve, unix_serve
from geventws.core.http11 import Response
from geventws.core.states import State
from geventws.net.server_connection import Phase
from geventws.testing import RawClient
from tests.net.support import (
    HOST,
    PATIENCE,
    client_tls,
    echo,
    get,
    server_tls,
    serving,
    squeeze,
    until,
    uri_of,
)

GET = get()


def post(body: bytes, *headers: str) -> bytes:
    return get("/", *headers).replace(b"GET", b"POST") + body


def mirror(environ: Any, start_response: Any) -> list[bytes]:
    """Answer with the request: the method, the path, and the body."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} ".encode() + body]


def environ_of(environ: Any, start_response: Any) -> list[bytes]:
    """Answer with the environ."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr({key: value for key, value in environ.items() if key.isupper()}).encode()]


def http_client(server: Any, **options: Any) -> RawClient:
    return RawClient(server.address, open=False, **options)


def ask(peer: RawClient, request: bytes) -> Response:
    peer.send_bytes(request)
    return peer.recv_response()


def connection_of(server: Any) -> Any:
    """Return the one connection of a server, once it is served."""
    until(lambda: all(server._roster.greenlets.values()) and server._roster.greenlets)
    (ws,) = server._roster.greenlets.values()
    return ws


def lines(caplog: pytest.LogCaptureFixture, level: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == level]


# What goes where.


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_one_port_for_both(tls: bool) -> None:
    options: dict[str, Any] = {"ssl": server_tls()} if tls else {}
    client: dict[str, Any] = {"ssl": client_tls()} if tls else {}
    with serving(echo, http=mirror, **options) as server:
        with connect(uri_of(server, "wss" if tls else "ws"), **client) as ws:
            with http_client(server, **client) as peer:
                response = ask(peer, get("/page"))
                assert (response.status_code, response.body) == (200, b"GET /page ")
            ws.send("hello")
            assert ws.recv(PATIENCE) == "hello"


def test_unix_socket(tmp_path: pathlib.Path) -> None:
    with unix_serve(echo, tmp_path / "socket", http=environ_of):
        with RawClient(tmp_path / "socket", open=False) as peer:
            environ = eval(ask(peer, GET).body)
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("", "")
    assert "REMOTE_ADDR" not in environ


def test_environ() -> None:
    with serving(echo, http=environ_of) as server, http_client(server) as peer:
        environ = eval(ask(peer, get("/a%20b?c=d", "X-Custom: 1", "x-custom: 2")).body)
        remote = peer.sock.getsockname()
        expected = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/a b",
            "QUERY_STRING": "c=d",
            "SERVER_NAME": HOST,
            "SERVER_PORT": str(server.address[1]),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": HOST,
            "REMOTE_PORT": str(remote[1]),
            "HTTP_X_CUSTOM": "1,2",
        }
        assert {key: environ[key] for key in expected} == expected


def test_url_scheme() -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["wsgi.url_scheme"].encode()]

    with serving(echo, http=application) as server, http_client(server) as peer:
        assert ask(peer, GET).body == b"http"
    with serving(echo, http=application, ssl=server_tls()) as server:
        with http_client(server, ssl=client_tls()) as peer:
            assert ask(peer, GET).body == b"https"


@pytest.mark.parametrize(
    "request_bytes",
    [
        # A proxy that does not know WebSockets drops these two headers.
        RawClient.request().replace(b"Connection: Upgrade\r\n", b""),
        RawClient.request().replace(b"Upgrade: websocket\r\n", b""),
        RawClient.request([("Origin", "https://evil")]),
        RawClient.request([("Content-Length", "5")]) + b"hello",
        RawClient.request().replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
    ids=["no connection", "no upgrade", "origin", "body", "version"],
)
def test_bad_websocket_requests_are_no_http(request_bytes: bytes) -> None:
    with serving(echo, http=mirror, origins=["https://good"]) as server:
        with http_client(server) as peer:
            response = ask(peer, request_bytes)
            assert response.status_code in (400, 403, 426, 505)
            assert b"Failed to open a WebSocket connection" in response.body


def test_another_upgrade_is_http() -> None:
    with serving(echo, http=mirror) as server, http_client(server) as peer:
        request = post(b"hello", "Connection: Upgrade", "Upgrade: h2c", "Content-Length: 5")
        assert ask(peer, request).body == b"POST / hello"


def test_hooks_do_not_see_http() -> None:
    def process_request(ws: Any, request: Any) -> None:
        raise AssertionError("not for HTTP")

    with serving(echo, http=mirror, process_request=process_request) as server:
        with http_client(server) as peer:
            assert ask(peer, GET).status_code == 200


def test_accept_of_the_application_finds_no_websocket() -> None:
    def application(environ: Any, start_response: Any) -> Any:
        with geventws.wsgi.accept(environ, start_response):
            raise AssertionError("there is no WebSocket")

    with serving(echo, http=application) as server, http_client(server) as peer:
        assert ask(peer, GET).status_code == 426


# Many requests on one connection.


@pytest.mark.parametrize("size", [0, 1, 10_000, 1_000_000])
@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_bodies(size: int, chunked: bool, tls: bool) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    if chunked:
        sent = b"%x\r\n%b\r\n" % (size, body) if size else b""
        request = post(sent + b"0\r\n\r\n", "Transfer-Encoding: chunked")
    else:
        request = post(body, f"Content-Length: {size}")
    options: dict[str, Any] = {"ssl": server_tls()} if tls else {}
    with serving(echo, http=mirror, **options) as server:
        with http_client(server, ssl=client_tls() if tls else None) as peer:
            for _ in range(2):
                # Both ends can be in the middle of it at the same time.
                sending = gevent.spawn(peer.send_bytes, request)
                assert peer.recv_response().body == b"POST / " + body
                sending.get(timeout=PATIENCE)


def test_requests_that_arrive_together() -> None:
    requests = get("/one") + post(b"two", "Content-Length: 3") + get("/three")
    with serving(echo, http=mirror) as server, http_client(server) as peer:
        peer.send_bytes(requests + get("/four", "Connection: close"))
        received = bytearray()
        while data := peer.sock.recv(65536):
            received += data
        bodies = [part.split(b"HTTP/1.1 200")[0] for part in received.split(b"\r\n\r\n")[1:]]
        assert bodies == [b"GET /one ", b"POST / two", b"GET /three ", b"GET /four "]


def test_requests_in_pieces() -> None:
    request = post(b"hello", "Content-Length: 5") + GET
    with serving(echo, http=mirror) as server, http_client(server) as peer:
        for number in range(len(request)):
            peer.send_bytes(request[number : number + 1])
            gevent.sleep(0)
        assert peer.recv_response().body == b"POST / hello"


def test_a_body_that_the_application_does_not_read() -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    body = bytes(100_000)
    with serving(echo, http=application) as server, http_client(server) as peer:
        assert ask(peer, post(body, f"Content-Length: {len(body)}")).body == b"ok"
        assert ask(peer, GET).body == b"ok"


def test_expect_continue() -> None:
    with serving(echo, http=mirror) as server, http_client(server) as peer:
        peer.send_bytes(post(b"", "Content-Length: 5", "Expect: 100-continue"))
        assert peer.sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert ask(peer, b"hello").body == b"POST / hello"


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("together", [False, True], ids=["later", "together"])
def test_websocket_on_a_connection_that_was_kept(tls: bool, together: bool) -> None:
    options: dict[str, Any] = {"ssl": server_tls()} if tls else {}
    with serving(echo, http=mirror, **options) as server:
        with http_client(server, ssl=client_tls() if tls else None) as peer:
            opening = RawClient.request() + peer.frame(Opcode.TEXT, b"hello")
            if together:
                peer.send_bytes(GET + opening)
                received = b""
                while b"\r\n\r\n" not in received.partition(b"101 Switching Protocols")[2]:
                    received += peer.sock.recv(65536)
                peer._decoder.feed(received.partition(b"101 ")[2].partition(b"\r\n\r\n")[2])
            else:
                assert ask(peer, GET).status_code == 200
                assert ask(peer, opening).status_code == 101
            frame = peer.recv_frame()
            assert frame is not None and frame.data == b"hello"
            until(lambda: server.connections)


def test_http_1_0() -> None:
    with serving(echo, http=mirror) as server, http_client(server) as peer:
        response = ask(peer, GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert response.headers["Connection"] == "close"
        assert peer.recv_eof()


def test_idle_connections_are_closed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "geventws.server")
    with serving(echo, http=mirror, open_timeout=0.05) as server, http_client(server) as peer:
        assert ask(peer, GET).status_code == 200
        assert peer.recv_eof()
    assert "- timed out waiting for handshake request" in lines(caplog, "DEBUG")


def test_application_may_take_longer_than_the_open_timeout() -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        gevent.sleep(0.1)
        return mirror(environ, start_response)

    with serving(echo, http=application, open_timeout=0.05) as server:
        with http_client(server) as peer:
            assert ask(peer, GET).status_code == 200


# Responses.


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_client_that_reads_slowly(tls: bool) -> None:
    size = 4_000_000

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", str(size))])
        for _ in range(4):
            yield bytes(size // 4)

    options: dict[str, Any] = {"ssl": server_tls()} if tls else {}
    # Not even a timeout for the end of the connection cuts a response off.
    with serving(echo, http=application, close_timeout=0.05, **options) as server:
        with http_client(server, ssl=client_tls() if tls else None) as peer:
            ws = connection_of(server)
            squeeze(ws, peer)
            peer.send_bytes(get("/", "Connection: close"))
            until(lambda: ws._queued)
            gevent.sleep(0.1)
            received = 0
            while data := peer.sock.recv(65536):
                received += len(data)
            assert received > size


def test_streamed_response() -> None:
    go_on = Event()

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begin, "
        go_on.wait()
        yield b"end"

    with serving(echo, http=application) as server, http_client(server) as peer:
        peer.send_bytes(GET)
        received = b""
        while b"begin, " not in received:
            received += peer.sock.recv(65536)
        go_on.set()
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += peer.sock.recv(65536)
        assert received.endswith(b"7\r\nbegin, \r\n3\r\nend\r\n0\r\n\r\n")


@pytest.mark.parametrize("exc", [RuntimeError("oops"), gevent.Timeout(7), SystemExit(3)], ids=repr)
def test_application_crashes(exc: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        raise exc

    with serving(echo, http=application) as server:
        with http_client(server) as peer:
            assert ask(peer, GET).status_code == 500
            assert peer.recv_eof()
        connect(uri_of(server)).close()
    (error,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert error.getMessage() == "HTTP application failed"
    assert error.exc_info is not None and error.exc_info[1] is exc


def test_application_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    running: list[Any] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        running.append(gevent.getcurrent())
        Event().wait()
        return []

    with serving(echo, http=application) as server, http_client(server) as peer:
        peer.send_bytes(GET)
        until(lambda: running)
        running[0].kill()
        peer.recv_eof()
    assert lines(caplog, "ERROR") == []


@pytest.mark.parametrize("when", ["upload", "download"])
def test_client_goes_away(when: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "geventws.server")
    go_on = Event()

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        environ["wsgi.input"].read()
        start_response("200 OK", [])
        while True:
            yield bytes(100_000)
            go_on.set()

    with serving(echo, http=application) as server:
        with http_client(server) as peer:
            peer.send_bytes(post(b"hell", f"Content-Length: {5 if when == 'upload' else 4}"))
            if when == "download":
                assert go_on.wait(PATIENCE)
                peer.reset()
            else:
                until(lambda: connection_of(server)._phase is Phase.EXCHANGE)
        until(lambda: not server._roster.greenlets)
    assert lines(caplog, "ERROR") == []
    # pywsgi takes no notice of what goes wrong with a response.
    assert lines(caplog, "DEBUG").count("! client is gone") == (when == "upload")


def test_application_that_goes_on_when_the_client_is_gone() -> None:
    """It gets an error from whatever it does, and never waits for what cannot come."""
    errors: list[Any] = []
    closed = Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])

        def write_for_ever() -> None:
            while True:
                write(bytes(100_000))

        for use in (write_for_ever, write_for_ever, environ["wsgi.input"].read):
            with pytest.raises(BrokenPipeError, match="the connection is closed") as raised:
                use()
            errors.append(raised.value.__cause__)
            if len(errors) == 2:
                # Writing failed, and for a while more could be read.
                closed.wait()
        return []

    with serving(echo, http=application, close_timeout=0.05) as server:
        with http_client(server) as peer:
            peer.send_bytes(post(b"hell", "Content-Length: 5"))
            ws = connection_of(server)
            peer.sock.recv(1)
            peer.reset()
            until(lambda: ws.state is State.CLOSED)
            closed.set()
            until(lambda: not server._roster.greenlets)
    assert errors == [ws._cause, ws._cause, None]
    assert isinstance(ws._cause, OSError)


# Requests that are wrong, or an attack.


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: +5",),
        ("Content-Length: 5, 5",),
        ("Content-Length: -1",),
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: identity",),
        ("Bad Name: value",),
    ],
    ids=repr,
)
def test_ambiguous_requests(headers: tuple[str, ...]) -> None:
    with serving(echo, http=mirror) as server, http_client(server) as peer:
        assert ask(peer, post(b"hello", *headers)).status_code == 400
        assert peer.recv_eof()


@pytest.mark.parametrize("sent", [b"x\r\n", b"fffffffffffffffff\r\n", b"1\r\nabc"])
def test_bad_chunks(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with serving(echo, http=mirror) as server, http_client(server) as peer:
        assert ask(peer, post(sent, "Transfer-Encoding: chunked")).status_code == 400
        assert peer.recv_eof()
    assert lines(caplog, "ERROR") == []


def test_more_headers_than_pywsgi_takes(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, "geventws.server")
    with serving(echo, http=mirror) as server, http_client(server) as peer:
        assert ask(peer, get("/", *["X: y"] * 110)).status_code == 400
        assert peer.recv_eof()
    assert any('"GET / HTTP/1.1" 400' in line for line in lines(caplog, "INFO"))
    # Nothing is printed beside the log.
    assert capfd.readouterr() == ("", "")


def test_bad_request_of_a_client_that_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "geventws.server")
    gone = Event()

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        yield b"ok"
        # Answered; the next request is looked at when this is over.
        gone.wait()

    with serving(echo, http=application) as server, http_client(server) as peer:
        assert ask(peer, GET + get("/", *["X: y"] * 110)).body == b"ok"
        poll = get_original("select", "poll")()
        # For errors alone.
        poll.register(connection_of(server)._transport.fileno(), 0)
        peer.reset()
        until(lambda: poll.poll(0))
        gone.set()
        until(lambda: not server._roster.greenlets)
    assert "! error while sending data" in lines(caplog, "DEBUG")
    # It got no answer, so it is not in the access log.
    (request,) = [line for line in lines(caplog, "INFO") if '"GET / HTTP/1.1"' in line]
    assert '"GET / HTTP/1.1" 200 ' in request


def test_limits_are_those_of_the_opening_handshake() -> None:
    with serving(echo, http=mirror) as server:
        with http_client(server) as peer:
            assert ask(peer, get("/" + "x" * 10_000)).status_code == 414
        with http_client(server) as peer:
            assert ask(peer, get("/", "X: " + "y" * 10_000)).status_code == 431


# The log.


def test_access_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "geventws.server")
    with serving(echo, http=mirror) as server, http_client(server) as peer:
        ask(peer, get("/page"))
    (record,) = [record for record in caplog.records if "GET" in record.getMessage()]
    assert record.getMessage().startswith(f"{HOST} - - [")
    assert '] "GET /page HTTP/1.1" 200 ' in record.getMessage()
    ws: Any = record.websocket  # type: ignore[attr-defined]
    assert type(ws).__name__ == "ServerConnection"
    assert lines(caplog, "INFO")[-3:] == [
        "server closing",
        "connection closed",
        "server closed",
    ] or ("connection closed" in lines(caplog, "INFO"))


def test_errors_that_the_application_writes(caplog: pytest.LogCaptureFixture) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        environ["wsgi.errors"].write("careful\n")
        return mirror(environ, start_response)

    with serving(echo, http=application) as server, http_client(server) as peer:
        ask(peer, GET)
    assert lines(caplog, "ERROR") == ["careful"]


def test_what_pywsgi_has_for_a_socket_is_named_after_the_connection() -> None:
    names = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        names.append(repr(environ["wsgi.input"].rfile.raw))
        return mirror(environ, start_response)

    with serving(echo, http=application) as server, http_client(server) as peer:
        ask(peer, GET)
        assert names == [repr(connection_of(server))]


def test_adapters_find_the_request(caplog: pytest.LogCaptureFixture) -> None:
    paths = []

    class Adapter(logging.LoggerAdapter[Any]):
        def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
            if "extra" in kwargs and msg == "%s":
                paths.append(kwargs["extra"]["websocket"].path)
            return msg, kwargs

    logger = Adapter(logging.getLogger("geventws.server"))
    caplog.set_level(logging.INFO, "geventws.server")
    with serving(echo, http=mirror, logger=logger) as server, http_client(server) as peer:
        ask(peer, post(b"hello", "Content-Length: 5"))
    assert paths == ["/"]


# Shutdown.


def test_shutdown_waits_for_responses() -> None:
    go_on = Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        go_on.wait()
        return mirror(environ, start_response)

    with serving(echo, http=application) as server, http_client(server) as peer:
        peer.send_bytes(GET + get("/another"))
        until(lambda: connection_of(server)._phase is Phase.EXCHANGE)
        stopping = gevent.spawn(server.shutdown)
        stopping.join(0.01)
        go_on.set()
        response = peer.recv_response()
        assert response.status_code == 200
        assert response.headers["Connection"] == "close"
        assert peer.recv_eof()
        peer.close()
        stopping.get(timeout=PATIENCE)


def test_shutdown_ends_idle_connections_without_a_word() -> None:
    with serving(echo, http=mirror) as server, http_client(server) as peer:
        assert ask(peer, GET).status_code == 200
        until(lambda: connection_of(server)._phase is Phase.IDLE)
        server.shutdown(timeout=5)
        # Whatever it said would be taken for the answer to the next request.
        assert peer.sock.recv(1000) == b""


def test_shutdown_kills_what_takes_too_long(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[Any] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        try:
            Event().wait()
        except BaseException as exc:
            ended.append(type(exc))
            raise
        return []

    with serving(echo, http=application) as server, http_client(server) as peer:
        peer.send_bytes(GET)
        until(lambda: connection_of(server)._phase is Phase.EXCHANGE)
        server.shutdown(timeout=0.05)
        assert ended == [gevent.GreenletExit]
        peer.recv_eof()
    assert lines(caplog, "ERROR") == []


def test_shutdown_in_the_middle_of_a_body() -> None:
    with serving(echo, http=mirror) as server, http_client(server) as peer:
        peer.send_bytes(post(b"hell", "Content-Length: 5"))
        until(lambda: connection_of(server)._phase is Phase.EXCHANGE)
        stopping = gevent.spawn(server.shutdown)
        stopping.join(0.01)
        assert ask(peer, b"o").body == b"POST / hello"
        peer.close()
        stopping.get(timeout=PATIENCE)


# Arguments.


@pytest.mark.parametrize("application", [42, "module:app", [mirror]])
def test_what_is_no_application(application: Any) -> None:
    with pytest.raises(TypeError, match="http must be a WSGI application, not "):
        serve(echo, HOST, 0, http=application)
