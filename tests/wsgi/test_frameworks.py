"""The how-tos of web frameworks: their very programs, on real servers, by a foreign client."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest
from websockets.sync.client import connect

from geventws import Opcode
from geventws.testing import RawClient
from tests.net.support import until
from tests.test_docs import programs
from tests.wsgi.documented import FRAMEWORKS, HOWTO, run
from tests.wsgi.support import Process, foreign_tls, running, served

# One for each way of taking a socket over; the others are the doors' own tests' business.
SERVERS = ["pywsgi", "pywsgi-tls", "gunicorn", "worker", "gevent_pywsgi", "gthread", "werkzeug"]


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Process]:
    with running(request.param, "tests.wsgi.documented:applications") as process:
        yield process


@pytest.fixture(params=FRAMEWORKS)
def process(server: Process, request: pytest.FixtureRequest) -> Process:
    return server.through(request.param)


def uri_of(process: Process) -> tuple[str, ssl.SSLContext | None]:
    """The application's address for WebSockets, and what its TLS needs."""
    scheme = "wss" if process.tls else "ws"
    where = f"localhost:{process.address[1]}{process.prefix}"
    return f"{scheme}://{where}", foreign_tls(process)


def test_foreign_client(process: Process) -> None:
    uri, context = uri_of(process)
    with connect(f"{uri}/echo/blue?token=sesame", ssl=context) as ws:
        assert ws.recv() == "Welcome to blue!"
        ws.send("x" * 10_000)
        assert ws.recv() == "x" * 10_000
    assert ws.close_code == 1000
    process.wait_for(rf'"GET {process.prefix}/echo/blue[?]token=sesame HTTP/1.1" 101 ')
    assert "Traceback" not in process.log


def test_early_bytes_and_close(process: Process) -> None:
    early = RawClient.frame(None, Opcode.TEXT, b"early", mask=True)
    client = process.open("/echo/blue?token=sesame", early=early)
    for data in (b"Welcome to blue!", b"early"):
        frame = client.recv_frame()
        assert frame is not None and frame.data == data
    client.send_frame(Opcode.CLOSE, b"\x03\xe8")
    frame = client.recv_frame()
    assert frame is not None and (frame.opcode, frame.data) == (Opcode.CLOSE, b"\x03\xe8")
    # The framework's response is not sent.
    assert client.recv_frame() is None
    client.close()


def test_application_rejects(process: Process) -> None:
    client = process.ask("/echo/blue")
    response = client.recv_response()
    assert response.status_code == 403
    assert b"a token, please" in response.body
    client.close()


def test_plain_requests(process: Process) -> None:
    status, body = process.get("/")
    # It may be in chunks.
    assert status == 200 and b"home" in body
    status, body = process.get("/echo/blue?token=sesame")
    assert status == 426
    assert b"You need a WebSocket client." in body


def test_client_vanishes(process: Process) -> None:
    client = process.open("/echo/blue?token=sesame")
    assert client.recv_frame() is not None
    client.reset()
    process.wait_for('" 101 ')
    assert "Traceback" not in process.log


# Flask.


def test_flask(server: Process) -> None:
    process = server.through("Flask")
    client = process.ask("/echo/blue")
    assert client.recv_response().status_code == 403
    client.close()
    client = process.connect()
    client.send_bytes(b"GET /Flask/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
    cookie = client.recv_response().headers["Set-Cookie"].split(";")[0]
    client.close()
    uri, context = uri_of(process)
    with connect(f"{uri}/echo/blue", ssl=context, additional_headers={"Cookie": cookie}) as ws:
        assert ws.recv() == "Welcome to blue, Ann!"
        ws.send("hello")
        assert ws.recv() == "hello"


def test_flask_factory_options_and_test() -> None:
    """The other programs of its page belong together; the last one is a test."""
    module = run("documented_factory", "\n".join(programs(HOWTO / "flask.rst")[1:]))
    with served(module.app) as here:
        client = here.open("/time")
        frame = client.recv_frame()
        assert frame is not None and frame.data == b"It is late."
        client.close()
        until(lambda: "101" in here.log.getvalue())


def test_gunicorn_configuration() -> None:
    (configuration,) = programs(HOWTO / "gunicorn.rst")
    module = run("documented_gunicorn", configuration)
    from gunicorn.config import Config

    config = Config()
    for name in ("worker_class", "worker_connections", "graceful_timeout"):
        config.set(name, getattr(module, name))
    assert config.worker_class.__name__ == "Worker"
