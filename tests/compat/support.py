"""Programs that were written for gevent-websocket, as processes of their own."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.net.support import PATIENCE
from tests.wsgi.support import Process, gunicorn

HERE = pathlib.Path(__file__).parent
PROGRAMS = HERE / "programs"

# A Python with the real gevent-websocket, to see by hand that it behaves in the same way:
# GEVENTWEBSOCKET_PYTHON=/tmp/v-gw/bin/python pytest tests/compat/test_programs.py -k pywsgi
ORIGINAL = os.environ.get("GEVENTWEBSOCKET_PYTHON")

SERVERS = ["pywsgi", "gunicorn"]

WORKER = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"


def command(program: str, server: str, *arguments: str) -> list[str]:
    """Return what runs a program, which is not changed, by its own server or under gunicorn."""
    if server == "gunicorn":
        folder = "--chdir", str(PROGRAMS)
        settings = () if ORIGINAL else ("-c", str(HERE / "gunicorn.conf.py"))
        run = gunicorn(WORKER, f"{program}:app", None, *settings, *folder)
        return [ORIGINAL, *run[1:]] if ORIGINAL else run
    path = str(PROGRAMS / f"{program}.py")
    return [*interpreter(), path, *arguments]


def interpreter() -> list[str]:
    """Return how to run a program by its path, in the mode of this run of the tests."""
    if ORIGINAL:
        return [ORIGINAL]
    before = []
    if os.environ.get("GEVENTWS_TEST_PATCH") == "1":
        before.append("from gevent import monkey; monkey.patch_all()")
    if os.environ.get("GEVENTWS_TEST_DEBUG") == "1":
        before.append("import logging; logging.basicConfig(level=logging.DEBUG)")
    if not before:
        return [sys.executable, "-m", "geventws.compat"]
    run = "import sys; from geventws.compat.__main__ import main; main(sys.argv[1:])"
    return [sys.executable, "-c", "; ".join([*before, run])]


@contextlib.contextmanager
def running(program: str, server: str, *arguments: str) -> Iterator[Process]:
    """Run a program of the folder ``programs``."""
    process = Process(command(program, server, *arguments))
    process.server = server
    try:
        yield process
    finally:
        process.stop()


def client(process: Process, path: str, **options: Any) -> ClientConnection:
    """Connect a client that knows nothing of geventws."""
    host, port = process.address
    uri = f"ws://{host}:{port}{path}"
    return connect(uri, open_timeout=PATIENCE, close_timeout=PATIENCE, **options)


def receive(ws: ClientConnection) -> str | bytes:
    """Receive a message in time."""
    return ws.recv(timeout=PATIENCE)
