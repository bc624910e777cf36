"""The programs of docs/howto/gevent-websocket.rst: the first and the last do the same."""

from __future__ import annotations

import sys

import pytest

from tests.compat.support import HERE, client, receive
from tests.test_docs import ROOT, programs
from tests.wsgi.support import Process

UNCHANGED, OPTIONS, GUNICORN, SOCKETIO, PORTED = programs(
    ROOT / "docs" / "howto" / "gevent-websocket.rst"
)

SERVE = "\nserver.start()\nprint('port', server.server_port, flush=True)\nserver.serve_forever()\n"

CHECK_OPTIONS = """
from geventwebsocket.handler import WebSocketHandler
assert WebSocketHandler.websocket_options["max_size"] == 2**24
print("port 0", flush=True)
"""

CHECK_SOCKETIO = """
driver = socketio.server.eio._async["websocket"]
assert driver.__bases__ == (object,), "it is made for simple-websocket"
print("port 0", flush=True)
"""


@pytest.mark.parametrize("program", [UNCHANGED, PORTED], ids=["unchanged", "ported"])
def test_servers(program: str) -> None:
    process = Process([sys.executable, "-c", program + SERVE])
    try:
        with client(process, "/") as ann, client(process, "/") as bob:
            for message in ("to all", b"to all"):
                ann.send(message)
                assert receive(ann) == receive(bob) == message
        process.wait_for(r'"GET / HTTP/1.1" 101 ')
        assert "Traceback" not in process.log
    finally:
        process.stop()


@pytest.mark.parametrize("program", [OPTIONS + CHECK_OPTIONS, SOCKETIO + CHECK_SOCKETIO])
def test_settings(program: str) -> None:
    process = Process([sys.executable, "-c", program])
    try:
        assert process.process.wait(30) == 0
    finally:
        process.stop()


def test_gunicorn_settings_are_those_of_the_tests() -> None:
    assert (HERE / "gunicorn.conf.py").read_text("utf-8").endswith(GUNICORN.strip() + "\n")
