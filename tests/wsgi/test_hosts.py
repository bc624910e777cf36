"""Tests of geventws.hosts; what works on real servers is tested in test_wsgi."""

from __future__ import annotations

import io
import sys
import types
from typing import Any

import pytest
from gevent import socket
from gevent.monkey import get_original
from gevent.pywsgi import WSGIHandler

from geventws.hosts import (
    GunicornHost,
    PywsgiHost,
    UnsupportedServer,
    UwsgiHost,
    WerkzeugHost,
    end_request,
    find_host,
    read_ahead,
)
from geventws.net.borrowed import DuplicateTransport

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


class Unreader:
    """As in every gunicorn so far; newer ones have `take_buffered`, too."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.buf = io.BytesIO()

    def chunk(self, size_hint: int | None = None) -> bytes:
        return bytes(self.sock.recv(100))


class Response:
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
    unreader, response = Unreader(one), Response()
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
    response = Response()
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


def test_request_on_an_impossible_server_ends_by_itself() -> None:
    end_request({"SERVER_SOFTWARE": "waitress"}, start_response)
