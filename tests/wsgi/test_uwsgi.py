"""uWSGI with its gevent loop: what its request was sent together with is lost, the rest works."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from geventws import Opcode
from geventws.testing import RawClient
from tests.net.support import PATIENCE, until
from tests.wsgi.support import CONNECTIONS, Process, running

NORMAL, GOING_AWAY, INTERNAL_ERROR = b"\x03\xe8", b"\x03\xe9", b"\x03\xf3"


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with running("uwsgi", "doors") as process:
        yield process


@pytest.fixture(params=["plain", "middleware", "view"])
def process(server: Process, request: pytest.FixtureRequest) -> Process:
    return server.through(request.param)


def expect_close(client: RawClient, data: bytes) -> None:
    received = client.recv_frame()
    assert received is not None
    assert (received.opcode, received.data) == (Opcode.CLOSE, data)
    client.send_frame(Opcode.CLOSE, data)
    assert client.recv_frame() is None
    client.close()


def test_echo(process: Process) -> None:
    client = process.open()
    for data in (b"x", b"x" * 200_000):
        client.send_frame(Opcode.BINARY, data)
        received = client.recv_frame()
        assert received is not None and received.data == data
    client.send_frame(Opcode.CLOSE, NORMAL)
    expect_close(client, NORMAL)
    process.wait_for(rf"GET {process.prefix}/echo => generated 0 bytes .* \(HTTP/1.1 101\)")


def test_application_rejects(process: Process) -> None:
    client = process.ask("/reject")
    response = client.recv_response()
    assert (response.status_code, response.body) == (403, b"not you")
    client.close()


def test_handler_crashes(process: Process) -> None:
    client = process.open("/crash")
    client.send_frame(Opcode.TEXT, b"now")
    expect_close(client, INTERNAL_ERROR)
    process.wait_for("ValueError: crash on purpose")


def test_request_that_opens_no_websocket(process: Process) -> None:
    status, body = process.get("/echo")
    if process.door == "middleware":
        assert status == 404
    else:
        assert (status, b"You need a WebSocket client" in body) == (426, True)


def test_client_vanishes_behind_the_handshake(process: Process) -> None:
    for _ in range(10):
        process.ask().reset()
    # uWSGI keeps the last exception of an application, and what its traceback refers to.
    until(lambda: process.count()["connections"] <= 1)
    assert 'geventws/mount.py"' not in process.log


def test_nothing_leaks(process: Process) -> None:
    def vanish(count: int) -> None:
        for number in range(count):
            forgets = process.door == "plain" and number % 2
            process.open("/forget" if forgets else "/echo").close()

    vanish(3)
    until(lambda: process.count()["connections"] <= 1)
    before = process.count()
    vanish(CONNECTIONS)
    until(lambda: not process.holds_more_than(before))


def test_flask() -> None:
    """A view rejects, echoes, crashes; and its response is not sent."""
    with running("uwsgi", "tests.wsgi.flask_app:app") as process:
        client = process.ask("/reject")
        assert client.recv_response().status_code == 403
        client.close()
        client = process.open("/crash")
        client.send_frame(Opcode.TEXT, b"now")
        expect_close(client, INTERNAL_ERROR)
        client = process.open("/echo")
        client.send_frame(Opcode.TEXT, b"x")
        received = client.recv_frame()
        assert received is not None and received.data == b"x"
        client.send_frame(Opcode.CLOSE, NORMAL)
        expect_close(client, NORMAL)


def test_server_is_terminated(server: Process) -> None:
    """The clients' TCP connections end, and no HTTP gets into them."""
    clients = [server.open(f"/{door}/echo") for door in ("plain", "middleware", "view")]
    server.process.terminate()
    for client in clients:
        received = client.recv_frame()
        assert received is None or (received.opcode, received.data) == (Opcode.CLOSE, GOING_AWAY)
        client.close()
    server.process.wait(PATIENCE)


def test_tls_of_its_own() -> None:
    """Its TLS object is out of reach, and what we wrote would break it."""
    with running("uwsgi-tls", "middleware") as process:
        client = process.ask()
        process.wait_for("UnsupportedServer: uWSGI's https-socket keeps its TLS to itself")
        client.close()
