"""Flask-SocketIO in its gevent mode on geventws, with python-socketio's client."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from gevent import subprocess

from tests.compat.support import PROGRAMS, SERVERS, running
from tests.net.support import PATIENCE
from tests.wsgi.support import Process

pytestmark = pytest.mark.deadline(60)

SESSION = """\
echo {'text': 'Hello!'}
echo b'\\x00binary'
echo 100000
shouted ALL
transport websocket
"""


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Process]:
    with running("socketio_server", request.param) as process:
        # The port is open before gunicorn's worker is there, which takes its time under load.
        process.get("/")
        yield process


def run_client(server: Process, *transports: str) -> str:
    """Run a session in a process of its own, for the client uses threads; return its output."""
    host, port = server.address
    program = str(PROGRAMS / "socketio_client.py")
    command = [sys.executable, program, f"http://{host}:{port}", *transports]
    # It gives up by itself, and then says what it waited for.
    done = subprocess.run(command, capture_output=True, text=True, timeout=5 * PATIENCE)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{server.log}"
    return done.stdout


def test_websocket(server: Process) -> None:
    assert run_client(server, "websocket") == SESSION
    # Whether the client's goodbye arrives, or the close comes first, depends on its threads.
    server.wait_for(r"connect 127.0.0.1\n(.|\n)*disconnect (client disconnect|transport close)\n")
    if server.server == "gunicorn":
        # `socketio.run` switches the access log off.
        server.wait_for(r'"GET /socket.io/\?transport=websocket[^"]*" 101 ')
    assert "Traceback" not in server.log


def test_polling_becomes_websocket(server: Process) -> None:
    assert run_client(server, "polling", "websocket") == SESSION
    server.wait_for(r"disconnect (client disconnect|transport close)\n")
    if server.server == "gunicorn":
        server.wait_for(r'"GET /socket.io/\?transport=websocket[^"]*sid=[^"]*" 101 ')
    assert "Traceback" not in server.log
