"""The WSGI doors on each server: real processes, raw clients, the bytes on the wire."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from geventws import Opcode
from geventws.testing import RawClient
from tests.wsgi.support import PYWSGI, SERVERS, Process, running

DOORS = ["plain", "middleware"]


@pytest.fixture(scope="module", params=[(s, d) for s in SERVERS for d in DOORS], ids="-".join)
def process(request: pytest.FixtureRequest) -> Iterator[Process]:
    server, door = request.param
    with running(server, door) as process:
        process.server, process.door = server, door
        yield process


def assert_closed(client: RawClient, code: int, reason: bytes = b"") -> None:
    """The server closes with a code, and says nothing else, HTTP least of all."""
    frame = client.recv_frame()
    assert frame is not None
    assert (frame.opcode, frame.data) == (Opcode.CLOSE, code.to_bytes(2, "big") + reason)
    client.send_frame(Opcode.CLOSE, frame.data)
    assert client.recv_frame() is None
    client.close()


def test_echo_with_early_bytes(process: Process) -> None:
    early = RawClient.frame(None, Opcode.TEXT, b"early", mask=True)
    client = process.open(early=early)
    assert client.recv_frame().data == b"early"
    client.send_frame(Opcode.BINARY, b"x" * 100_000)
    assert client.recv_frame().data == b"x" * 100_000
    client.send_frame(Opcode.CLOSE, b"\x03\xe8bye")
    frame = client.recv_frame()
    assert (frame.opcode, frame.data) == (Opcode.CLOSE, b"\x03\xe8bye")
    assert client.recv_frame() is None
    client.close()
    process.wait_for(r'"GET /echo HTTP/1.1" 101 ')
    assert "Traceback" not in process.log


def test_application_rejects(process: Process) -> None:
    client = process.connect()
    client.send_bytes(RawClient.request(path="/reject"))
    response = client.recv_response()
    assert (response.status_code, response.body) == (403, b"not you")
    client.close()


def test_handler_crashes(process: Process) -> None:
    client = process.open("/crash")
    client.send_frame(Opcode.TEXT, b"now")
    assert_closed(client, 1011)
    if process.door == "middleware" or process.server in PYWSGI:
        # gunicorn and Werkzeug log no request whose application raised.
        process.wait_for(r'"GET /crash HTTP/1.1" 101 ')
    process.wait_for("ValueError: crash on purpose")
