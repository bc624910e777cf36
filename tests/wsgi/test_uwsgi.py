"""uWSGI with its gevent loop: what its request was sent together with is lost, the rest works."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from geventws import Opcode
from geventws.testing import RawClient
from tests.net.support import until
from tests.wsgi.support import Process, running

NORMAL, GOING_AWAY, INTERNAL_ERROR = b"\x03\xe8", b"\x03\xe9", b"\x03\xf3"


@pytest.fixture(scope="module", params=["plain", "middleware", "view"])
def process(request: pytest.FixtureRequest) -> Iterator[Process]:
    with running("uwsgi", request.param) as process:
        process.door = request.param
        yield process


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
    process.wait_for(r"GET /echo => generated 0 bytes .* \(HTTP/1.1 101\)")


def test_application_rejects(process: Process) -> None:
    client = process.connect()
    client.send_bytes(RawClient.request(path="/reject"))
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


def test_nothing_leaks(process: Process) -> None:
    def vanish(count: int) -> None:
        for number in range(count):
            forgets = process.door == "plain" and number % 2
            process.open("/forget" if forgets else "/echo").close()

    vanish(3)
    # uWSGI keeps the last exception of an application, and what its traceback refers to.
    until(lambda: process.count()["connections"] <= 1)
    before = process.count()
    vanish(101)
    until(lambda: process.count() == before)


def test_tls_of_its_own() -> None:
    """Its TLS object is out of reach, and what we wrote would break it."""
    with running("uwsgi-tls", "middleware") as process:
        client = process.connect()
        client.send_bytes(RawClient.request(path="/echo"))
        process.wait_for("UnsupportedServer: uWSGI's https-socket keeps its TLS to itself")
        client.close()
