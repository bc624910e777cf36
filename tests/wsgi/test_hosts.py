"""Tests of geventws.hosts; what works on real servers is tested in test_wsgi."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import sys
import types
from typing import Any, Self

import pytest
from gevent import socket
from gevent.monkey import get_original
from gevent.pywsgi import WSGIHandler
from werkzeug.serving import WSGIRequestHandler, make_server

from geventws.core.headers import Headers
from geventws.core.http11 import Response
from geventws.hosts import (
    GunicornHost,
    Host,
    PywsgiHost,
    UnsupportedServer,
    UwsgiHost,
    WerkzeugHost,
    end_request,
    find_host,
    read_ahead,
)
from geventws.net.borrowed import BorrowedTransport, DuplicateTransport
from geventws.testing import RawClient
from tests.net.support import HOST

MODULES = {"gevent": socket.socketpair, "stdlib": get_original("socket", "socketpair")}


def start_response(*args: Any) -> None:
    """Stands for one that a middleware has wrapped: it tells nothing of its server."""


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"SERVER_SOFTWARE": "waitress"}, "waitress does not let"),
        ({"SERVER_SOFTWARE": "WSGIServer/0.2 CPython/3.11.7"}, "wsgiref does not let"),
        ({"SERVER_SOFTWARE": "bjoern"}, "bjoern does not let"),
        ({"SERVER_SOFTWARE": "Apache/2.4", "mod_wsgi.version": (4, 9)}, "mod_wsgi does not let"),
        ({"SERVER_SOFTWARE": "Cheroot/11.1.2"}, "cheroot does not let"),
        ({"SERVER_SOFTWARE": "other/1"}, "other/1 does not let"),
        ({}, "this WSGI server does not let"),
    ],
)
def test_impossible_server_is_named_and_another_one_too(environ: dict[str, Any], text: str) -> None:
    with pytest.raises(UnsupportedServer, match=text) as raised:
        find_host({"wsgi.input": io.BytesIO(), **environ}, start_response)
    assert "use gevent's pywsgi, gunicorn" in str(raised.value)


def test_another_event_loop() -> None:
    """A stand-in: eventlet and gevent do not go together in one process."""
    sock = type("GreenSocket", (), {"__module__": "eventlet.greenio.base"})()
    with pytest.raises(UnsupportedServer, match="worker eventlet does not.*use gevent's pywsgi"):
        find_host({"gunicorn.socket": sock}, start_response)


def test_http_2() -> None:
    environ = {
        "SERVER_SOFTWARE": "gunicorn/27.0.1",
        "SERVER_PROTOCOL": "HTTP/2",
        "gunicorn.socket": None,
    }
    with pytest.raises(UnsupportedServer, match="HTTP/2.*gunicorn/27.0.1.*offer HTTP/1.1"):
        find_host(environ, start_response)


@pytest.mark.parametrize(
    "environ", [{"gunicorn.socket": None}, {"SERVER_SOFTWARE": "gevent/26.9 Python/3.11"}]
)
def test_input_that_was_replaced(environ: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedServer, match="a middleware or another version replaced it"):
        find_host({"wsgi.input": io.BytesIO(), **environ}, start_response)


@pytest.mark.parametrize("kind", MODULES)
def test_read_ahead(kind: str) -> None:
    one, other = MODULES[kind]()
    one.settimeout(5)
    with one.makefile("rb") as reader:
        assert read_ahead(reader) == b""
        assert one.gettimeout() == 5
        other.sendall(b"line\nbuffered")
        assert reader.readline() == b"line\n"
        other.sendall(b"in the kernel")
        # What nobody has read yet stays where it is.
        assert read_ahead(reader) == b"buffered"
        assert read_ahead(reader) == b"in the kernel"
        other.close()
        assert read_ahead(reader) == b""
    one.close()


@pytest.mark.parametrize("kind", MODULES)
def test_read_ahead_from_a_client_that_has_reset(kind: str) -> None:
    """Whoever reads next finds out; how long the server waits stays as it was."""
    one, other = MODULES[kind]()
    one.settimeout(5)
    one.sendall(b"unread")
    other.close()
    with one.makefile("rb") as reader:
        assert read_ahead(reader) == b""
        assert one.gettimeout() == 5
    one.close()


# What is the same on all servers.


def lending(sock: Any, start_response: Any = start_response) -> Host:
    """A server that tells only by its name who it is: a middleware has wrapped the rest."""
    reader = sock.makefile("rb")
    environ = {"wsgi.input": reader, "SERVER_SOFTWARE": "gevent/26.9 Python/3.11"}
    host = find_host(environ, start_response)
    assert host.sock is sock
    return host


def test_response_is_sent_by_the_server() -> None:
    begun: list[Any] = []
    written: list[bytes] = []

    def start_response(status: str, headers: Any) -> Any:
        begun.append((status, headers))
        return written.append

    one, other = socket.socketpair()
    headers = Headers([("Upgrade", "websocket"), ("X-Test", "1"), ("X-Test", "2")])
    host = lending(one, start_response)
    host.respond(Response(426, "Upgrade Required", headers, b"not like this\n"))
    assert begun == [
        (
            "426 Upgrade Required",
            [("Upgrade", "websocket"), ("X-Test", "1"), ("X-Test", "2")],
        )
    ]
    assert written == [b"not like this\n"]
    host.take_over()
    one.close()
    other.close()


@pytest.mark.parametrize("scoped", [True, False])
def test_transport_borrows_the_socket(scoped: bool) -> None:
    one, other = socket.socketpair()
    host = lending(one)
    transport = host.make_transport(scoped)
    assert type(transport) is BorrowedTransport
    assert transport.scoped is scoped
    assert (transport.fileno() == one.fileno()) is scoped
    transport.send(b"x")
    assert other.recv(10) == b"x"
    transport.abandon()
    host.take_over()
    one.close()
    other.close()


def test_server_of_which_nothing_else_is_known() -> None:
    """It must say how its socket is taken over; the rest is left out."""
    host = Host(None, start_response)
    called: list[bool] = []
    host.end_request()
    host.when_done(lambda: called.append(True))
    assert not called
    with pytest.raises(NotImplementedError):
        host.take_over()


# One by one.


def test_pywsgi() -> None:
    one, other = socket.socketpair()
    other.sendall(b"head\nearly")
    reader = one.makefile("rb")
    reader.readline()
    handler = WSGIHandler(one, None, None, rfile=reader)
    # Behind other headers, pywsgi wraps its file.
    for given in (reader, types.SimpleNamespace(rfile=reader)):
        host = find_host({"wsgi.input": given}, handler.start_response)
        assert isinstance(host, PywsgiHost) and host.sock is one
    assert find_host(
        {"wsgi.input": reader, "SERVER_SOFTWARE": "gevent/20.0 Python/3.11"}, start_response
    )
    host.end_request()
    assert handler.close_connection
    assert host.take_over() == b"early"
    assert reader.closed
    one.close()
    other.close()


class HeaderLogger(WSGIHandler):  # type: ignore[misc]
    """Its access log has the headers of the request."""

    def format_request(self) -> str:
        return str(self.headers)


@pytest.mark.parametrize(("handler_class", "kept"), [(WSGIHandler, False), (HeaderLogger, True)])
def test_pywsgi_keeps_no_headers_unless_it_logs_them(
    handler_class: type[WSGIHandler], kept: bool
) -> None:
    one, other = socket.socketpair()
    reader = one.makefile("rb")
    handler = handler_class(one, None, None, rfile=reader)
    handler.headers = handler.response_headers = [("X-Test", "1")]
    host = find_host({"wsgi.input": reader}, handler.start_response)
    assert host.take_over() == b""
    assert ("headers" in vars(handler), "response_headers" in vars(handler)) == (kept, kept)
    one.close()
    other.close()


def test_pywsgi_behind_a_middleware() -> None:
    """What runs the request is not known; its file is."""
    one, other = socket.socketpair()
    other.sendall(b"early")
    reader = one.makefile("rb")
    environ = {"wsgi.input": reader, "SERVER_SOFTWARE": "gevent/26.9 Python/3.11"}
    end_request(environ, start_response)
    assert not reader.closed
    assert find_host(environ, start_response).take_over() == b"early"
    assert reader.closed
    one.close()
    other.close()


class Unreader:
    """As in every gunicorn so far; newer ones have `take_buffered`, too."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.buf = io.BytesIO()

    def chunk(self, size_hint: int | None = None) -> bytes:
        return bytes(self.sock.recv(100))


class GunicornResponse:
    closed = done = False

    def force_close(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.done = True

    def start_response(self, *args: Any) -> None:
        """Nobody calls it here."""


def test_gunicorn() -> None:
    one, other = MODULES["stdlib"]()
    other.sendall(b"a frame")
    unreader, response = Unreader(one), GunicornResponse()
    unreader.buf.write(b"early")
    body = types.SimpleNamespace(reader=types.SimpleNamespace(unreader=unreader))
    environ = {"gunicorn.socket": one, "wsgi.input": body}
    host = find_host(environ, response.start_response)
    assert isinstance(host, GunicornHost) and host.sock is one
    end_request(environ, response.start_response)
    assert response.closed
    assert host.take_over() == b"early"
    # It finds the end where the next request would be.
    assert (unreader.buf.getvalue(), unreader.chunk(), unreader.chunk(8192)) == (b"", b"", b"")
    one.close()
    other.close()


def test_gunicorn_tells_when_a_request_is_done() -> None:
    response = GunicornResponse()
    done: list[bool] = []
    body = types.SimpleNamespace(reader=types.SimpleNamespace(unreader=None))
    environ = {"gunicorn.socket": None, "wsgi.input": body}
    host = find_host(environ, response.start_response)
    host.when_done(lambda: done.append(response.done))
    response.close()
    assert done == [False] and response.done
    # A middleware hides the response.
    find_host(environ, start_response).when_done(lambda: done.append(True))
    assert done == [False]


def test_gunicorn_behind_a_middleware() -> None:
    """It reads nothing more, though its response cannot be told to close TCP."""
    one, other = MODULES["stdlib"]()
    other.sendall(b"a frame")
    unreader = Unreader(one)
    unreader.buf.write(b"early")
    body = types.SimpleNamespace(reader=types.SimpleNamespace(unreader=unreader))
    host = find_host({"gunicorn.socket": one, "wsgi.input": body}, start_response)
    assert host.take_over() == b"early"
    assert unreader.chunk() == b""
    one.close()
    other.close()


def test_werkzeug() -> None:
    one, other = MODULES["stdlib"]()
    with one.makefile("rb") as reader:
        other.sendall(b"head\nearly")
        reader.readline()
        host = find_host({"werkzeug.socket": one, "wsgi.input": reader}, start_response)
        assert isinstance(host, WerkzeugHost) and host.sock is one
        host.end_request()
        assert host.take_over() == b"early"
        # It looks for the rest of the request afterwards.
        assert not reader.closed
    one.close()
    other.close()


class Werkzeug:
    """Werkzeug's server, for one request of a client which is here, too."""

    def __init__(self) -> None:
        self.sock, self.client = MODULES["stdlib"]()
        # The levels of the lines it has logged.
        self.log: list[str] = []

    def run(self, app: Any, early: bytes = b"") -> None:
        """Let it run a request for a WebSocket, to the end."""
        self.client.sendall(RawClient.request() + early)
        log = self.log

        # Its own would add a handler to the logger.
        class Handler(WSGIRequestHandler):
            def log(self, type: str, message: str, *args: Any) -> None:
                log.append(type)

        server = make_server(HOST, 0, app)
        server.log = lambda type, *args: log.append(type)  # type: ignore[method-assign]
        with contextlib.closing(server.socket):
            Handler(self.sock, (HOST, 1), server)
        self.sock.close()

    def received(self) -> tuple[str, list[list[str]], bytes]:
        """Return what the client gets: the status, the headers, and what is behind the head."""
        data = b""
        while part := self.client.recv(65536):
            data += part
        head, _, rest = data.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        return status.split(" ", 1)[1], [line.split(": ") for line in lines], rest

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.sock.close()
        self.client.close()


SWITCH = Response(
    101, "Switching Protocols", Headers([("Upgrade", "websocket"), ("Connection", "Upgrade")])
)
REFUSAL = Response(403, "Forbidden", Headers([("Content-Length", "3")]), b"no\n")


def test_werkzeug_sends_no_second_connection_header() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        host = find_host(environ, start_response)
        host.respond(SWITCH)
        assert host.take_over() == b"early"
        environ["werkzeug.socket"].sendall(b"a frame")
        return []

    with Werkzeug() as here:
        here.run(app, b"early")
        status, headers, rest = here.received()
    assert (status, rest) == ("101 Switching Protocols", b"a frame")
    assert [value for name, value in headers if name == "Connection"] == ["Upgrade"]
    # Its others are sent as always.
    assert [name for name, _ in headers] == ["Server", "Date", "Upgrade", "Connection"]
    assert here.log == ["info"]


def test_werkzeug_sends_the_body_of_a_refusal() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        headers = Headers([*REFUSAL.headers.raw_items(), ("Connection", "close")])
        find_host(environ, start_response).respond(dataclasses.replace(REFUSAL, headers=headers))
        assert headers["Connection"] == "close"
        return []

    with Werkzeug() as here:
        here.run(app)
        status, headers, body = here.received()
    assert (status, body) == ("403 Forbidden", b"no\n")
    assert ["Content-Length", "3"] in headers
    # It is told once that the connection ends, by us or by Werkzeug.
    assert [value for name, value in headers if name == "Connection"] == ["close"]


def test_werkzeug_does_not_read_the_socket_again() -> None:
    """It looks for the rest of the request's body: frames now, of which it may take none."""
    kept: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        host = find_host(environ, start_response)
        host.respond(SWITCH)
        assert host.take_over() == b"early"
        assert environ["wsgi.input"].closed
        kept.append(environ["werkzeug.socket"].dup())
        here.client.sendall(b"a frame")
        return []

    with Werkzeug() as here:
        here.run(app, b"early")
        with kept[0] as sock:
            assert sock.recv(100) == b"a frame"


def test_werkzeug_tells_when_a_request_is_done() -> None:
    """Also when the application has raised."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        host = find_host(environ, start_response)
        host.respond(SWITCH)
        host.take_over()
        host.when_done(lambda: here.log.append("done"))
        raise ZeroDivisionError

    with Werkzeug() as here:
        here.run(app)
    assert here.log == ["info", "error", "done"]


def test_werkzeug_behind_a_middleware() -> None:
    """Which handler runs the request is not known: it sends and closes as it always does."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        def wrapped(status: str, headers: Any) -> Any:
            write = start_response(status, headers)
            return lambda data: write(data)

        host = find_host(environ, wrapped)
        host.respond(REFUSAL)
        host.when_done(lambda: here.log.append("done"))
        return []

    with Werkzeug() as here:
        here.run(app)
        status, headers, body = here.received()
    assert (status, body) == ("403 Forbidden", b"no\n")
    assert ["Connection", "close"] in headers
    assert here.log == ["info"]


def test_uwsgi(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its module exists inside of uWSGI only."""
    one, other = MODULES["stdlib"]()
    uwsgi = types.ModuleType("uwsgi")
    uwsgi.connection_fd = one.fileno  # type: ignore[attr-defined]
    uwsgi.opt = {}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    host = find_host({"uwsgi.version": b"2.0.31", "wsgi.input": None}, start_response)
    assert isinstance(host, UwsgiHost)
    assert host.take_over() == b""
    transport = host.make_transport(True)
    assert isinstance(transport, DuplicateTransport)
    assert transport.fileno() not in (-1, one.fileno())
    transport.send(b"x")
    assert other.recv(10) == b"x"
    transport.abandon()
    one.close()
    other.close()


def test_uwsgi_keeps_its_own_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy's TLS, of which the environ tells as well, is none of its business."""
    one, other = MODULES["stdlib"]()
    uwsgi = types.ModuleType("uwsgi")
    uwsgi.connection_fd = one.fileno  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    environ = {"uwsgi.version": b"2.0.31", "wsgi.input": None, "HTTPS": "on"}
    uwsgi.opt = {"http-socket": b":80"}  # type: ignore[attr-defined]
    assert isinstance(find_host(environ, start_response), UwsgiHost)
    uwsgi.opt = {"https-socket": b":443,cert,key"}  # type: ignore[attr-defined]
    with pytest.raises(UnsupportedServer, match="https-socket keeps its TLS.*gevent's pywsgi"):
        find_host(environ, start_response)
    one.close()
    other.close()


def test_request_on_an_impossible_server_ends_by_itself() -> None:
    end_request({"SERVER_SOFTWARE": "waitress"}, start_response)
