"""Behind HAProxy, with the configuration of its how-to."""

from __future__ import annotations

import pathlib
import shutil
import socket
from typing import Any

import gevent
import pytest
from gevent import subprocess

from geventws import connect
from geventws.testing import RunningServer
from tests.docs.pages import page_blocks

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")

(BLOCK,) = page_blocks("docs/howto/haproxy.rst")


def replaced(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def tell(ws: Any) -> None:
    """Say where a client comes from, then echo."""
    ws.send(f"{ws.remote_address[0]} {ws.request.headers['X-Forwarded-For']}")
    for message in ws:
        ws.send(message)


def health(ws: Any, request: Any) -> Any:
    return ws.respond(200, "OK\n") if request.path == "/healthz" else None


def test_websockets_behind_haproxy(tmp_path: pathlib.Path) -> None:
    if HAPROXY is None:
        pytest.skip("haproxy is not installed (Debian: haproxy)")
    config = tmp_path / "haproxy.cfg"
    with (
        RunningServer(tell, process_request=health) as server,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        # It inherits the socket: the port is ours.
        text = replaced(BLOCK.code, "bind :80", f"bind fd@{listening.fileno()}")
        config.write_text(replaced(text, ":8000 check", f":{server.port} check"))
        command = [HAPROXY, "-db", "-f", str(config)]
        haproxy = subprocess.Popen(
            command, pass_fds=[listening.fileno()], stderr=subprocess.PIPE, close_fds=True
        )
        try:
            port = listening.getsockname()[1]
            with connect(f"ws://127.0.0.1:{port}/", open_timeout=10) as ws:
                assert ws.recv(timeout=10) == "127.0.0.1 127.0.0.1"
                for message in ("x" * 100_000, b"y"):
                    ws.send(message)
                    assert ws.recv(timeout=10) == message
            assert ws.close_code == 1000
            with gevent.socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                assert b" 200 OK\r\n" in sock.recv(65536)
        finally:
            haproxy.terminate()
            _, errors = haproxy.communicate()
    assert b"[ALERT]" not in errors and b"[WARNING]" not in errors, errors.decode()
