"""Sockets that systemd opened."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from geventws import ConnectionClosedOK, connect, serve, systemd_sockets
from geventws.net import activation
from tests.net.support import HOST, PATIENCE, Program, echo

PROGRAM = """
import os, sys
import geventws

def echo(ws):
    for message in ws:
        ws.send(message)

(sock,) = geventws.systemd_sockets()
assert sock.fileno() == 3 and not os.get_inheritable(3)
assert "LISTEN_FDS" not in os.environ and geventws.systemd_sockets() == []
server = geventws.serve(echo, sock=sock)
print(server.address[1], flush=True)
server.serve_forever()
"""

# What systemd does between fork and exec: the socket becomes descriptor 3.
ACTIVATE = 'LISTEN_PID=$$ LISTEN_FDS=1 exec {python} "$@" 3<&{descriptor}'


def test_process_that_is_activated() -> None:
    with socket.create_server((HOST, 0)) as listener:
        address = listener.getsockname()
        script = ACTIVATE.format(python=sys.executable, descriptor=listener.fileno())
        command = ["bash", "-c", script, "activate"]
        # Whoever connects early waits in the backlog, however long the process takes.
        with Program(PROGRAM, command=command, pass_fds=[listener.fileno()]) as program:
            assert program.port == address[1]
            with connect(program.uri) as ws:
                ws.send("hello")
                assert ws.recv(PATIENCE) == "hello"
                program.signal(15)
                with pytest.raises(ConnectionClosedOK):
                    ws.recv(PATIENCE)
                assert ws.close_code == 1001
            assert program.end() == (0, "", "")


@contextlib.contextmanager
def activated(monkeypatch: pytest.MonkeyPatch, *sockets: Any, **environ: str) -> Iterator[None]:
    """This process as if systemd had started it with these sockets.

    Descriptors from 3 on belong to others here.
    """
    first = 1000
    for number, sock in enumerate(sockets, first):
        os.dup2(sock.fileno(), number)
    monkeypatch.setattr(activation, "FIRST", first)
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", str(len(sockets)))
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    yield
    for number in range(first, first + len(sockets)):
        with contextlib.suppress(OSError):
            os.close(number)


def test_several_sockets(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "socket"
    with socket.create_server((HOST, 0)) as one, socket.socket(socket.AF_UNIX) as two:
        two.bind(str(path))
        two.listen()
        with activated(monkeypatch, one, two):
            sockets = systemd_sockets()
            assert [sock.getsockname() for sock in sockets] == [one.getsockname(), str(path)]
            for sock in sockets:
                serve(echo, sock=sock).shutdown()
    # The path is systemd's.
    assert path.exists()


def test_another_process_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((HOST, 0)) as one:
        with activated(monkeypatch, one, LISTEN_PID=str(os.getppid())):
            assert systemd_sockets() == []
            # It is still there for that one's sake.
            assert "LISTEN_FDS" in os.environ


def test_no_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISTEN_PID", raising=False)
    assert systemd_sockets() == []


@pytest.mark.parametrize("kind", ["connected", "file", "nothing"])
def test_what_does_not_listen(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((HOST, 0)))
        if kind == "connected":
            other: Any = stack.enter_context(socket.create_connection(listener.getsockname()))
        else:
            other = stack.enter_context((tmp_path / "file").open("w"))
        stack.enter_context(activated(monkeypatch, listener, other))
        if kind == "nothing":
            os.close(1001)
        with pytest.raises(ValueError, match="descriptor 1001 from systemd"):
            systemd_sockets()


def test_bad_number_of_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    with activated(monkeypatch, LISTEN_FDS="many"):
        with pytest.raises(ValueError, match="LISTEN_FDS must be a number, not 'many'"):
            systemd_sockets()
