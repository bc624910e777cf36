"""Gunicorn's worker under the name that gevent-websocket gave it: real processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from gunicorn.workers.ggevent import GeventWorker, PyWSGIHandler

from geventws import Opcode
from geventws.compat.geventwebsocket.gunicorn.workers import GeventWebSocketWorker
from geventws.compat.geventwebsocket.handler import WebSocketHandler
from geventws.testing import RawClient
from tests.compat.support import running
from tests.net.support import PATIENCE
from tests.wsgi.support import Process


@pytest.fixture
def process() -> Iterator[Process]:
    with running("echo", "gunicorn") as process:
        yield process


def test_classes() -> None:
    """Flask-Sockets and others derive from them, and replace ``wsgi_handler``."""
    assert issubclass(GeventWebSocketWorker, GeventWorker)
    assert issubclass(GeventWebSocketWorker.wsgi_handler, (WebSocketHandler, PyWSGIHandler))


def test_early_bytes_and_access_log(process: Process) -> None:
    client = process.open("/", early=RawClient.frame(None, Opcode.TEXT, b"early", mask=True))
    frame = client.recv_frame()
    assert frame is not None and frame.data == b"early"
    client.send_frame(Opcode.CLOSE, b"\x03\xe8")
    frame = client.recv_frame()
    assert frame is not None and frame.data == b"\x03\xe8"
    assert client.recv_frame() is None
    client.close()
    assert process.get("/plain")[0] == 200
    process.wait_for(r'"GET / HTTP/1.1" 101 ')
    process.wait_for(r'"GET /plain HTTP/1.1" 200 ')
    assert "Traceback" not in process.log


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_goodbye(process: Process, name: str) -> None:
    client = process.open("/")
    process.process.send_signal(getattr(signal, name))
    frame = client.recv_frame()
    assert frame is not None and (frame.opcode, frame.data) == (Opcode.CLOSE, b"\x03\xe9")
    client.close()
    assert process.process.wait(PATIENCE) == 0
    assert "Traceback" not in process.log


def test_idle_client_does_not_hold_the_worker(process: Process) -> None:
    """One that may make another request; gunicorn would wait for it for 30 seconds."""
    client = process.connect()
    client.send_bytes(b"GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.recv_response().status_code == 200
    process.process.terminate()
    assert process.process.wait(PATIENCE) == 0
    client.close()
