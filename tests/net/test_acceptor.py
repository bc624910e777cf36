"""Accepting connections: listeners, and what happens when descriptors run out."""

from __future__ import annotations

import errno
import os
import pathlib
import socket
import subprocess
import sys

import gevent
import pytest
from gevent.event import Event
from gevent.monkey import get_original
from gevent.queue import Queue

import geventws
from geventws.net import acceptor
from geventws.net.acceptor import (
    MAX_ACCEPT,
    Acceptor,
    create_listener,
    create_unix_listener,
    remove_socket,
)
from tests.net.support import PATIENCE, no_descriptors, until

ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this system has no IPv6")


def refuse(exc: OSError) -> None:
    raise AssertionError(exc)


def test_accepts_in_batches() -> None:
    accepted: Queue[socket.socket] = Queue()
    with create_listener("127.0.0.1", 0) as listener:
        acceptor = Acceptor(
            listener, gevent.get_hub(), lambda sock, address: accepted.put(sock), refuse
        )
        clients = [socket.create_connection(listener.getsockname()) for _ in range(MAX_ACCEPT + 5)]
        for client in clients:
            sock = accepted.get(timeout=PATIENCE)
            assert sock.gettimeout() == 0
            sock.close()
            client.close()
        acceptor.stop()


def test_stop_leaves_the_socket_open() -> None:
    with create_listener("127.0.0.1", 0) as listener:
        Acceptor(listener, gevent.get_hub(), lambda sock, address: None, refuse).stop()
        assert listener.fileno() != -1


def test_an_error_of_ours_does_not_stop_it(capsys: pytest.CaptureFixture[str]) -> None:
    second = Event()
    calls = []

    def accepted(sock: socket.socket, address: object) -> None:
        sock.close()
        calls.append(address)
        if len(calls) == 1:
            raise RuntimeError("oops")
        second.set()

    with create_listener("127.0.0.1", 0) as listener:
        acceptor = Acceptor(listener, gevent.get_hub(), accepted, refuse)
        with socket.create_connection(listener.getsockname()):
            with socket.create_connection(listener.getsockname()):
                assert second.wait(PATIENCE)
        acceptor.stop()
    assert "RuntimeError: oops" in capsys.readouterr().err


class Hurried(get_original("socket", "socket")):  # type: ignore[misc]
    """A listener of which the first client went away before it was accepted.

    Other systems than Linux tell of that.
    """

    aborted = 0

    def _accept(self) -> tuple[int, object]:
        if not self.aborted:
            self.aborted += 1
            raise ConnectionAbortedError(errno.ECONNABORTED, "Software caused connection abort")
        accepted: tuple[int, object] = super()._accept()
        return accepted


def test_client_that_went_away(capsys: pytest.CaptureFixture[str]) -> None:
    accepted: Queue[socket.socket] = Queue()
    with Hurried() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        acceptor = Acceptor(
            listener, gevent.get_hub(), lambda sock, address: accepted.put(sock), refuse
        )
        with socket.create_connection(listener.getsockname()):
            accepted.get(timeout=PATIENCE).close()
        acceptor.stop()
        assert listener.aborted == 1
    # There is nothing to tell.
    assert capsys.readouterr().err == ""


def test_listener_that_listens_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the socket, too, has shut it down: that is told once, and keeps nobody busy."""
    monkeypatch.setattr(acceptor, "PAUSE", 0.001)
    reports: list[OSError] = []
    pauses: list[OSError] = []
    with create_listener("127.0.0.1", 0) as listener:
        here = Acceptor(listener, gevent.get_hub(), lambda sock, address: None, reports.append)
        pause = here._pause
        monkeypatch.setattr(here, "_pause", lambda exc: (pauses.append(exc), pause(exc)))
        listener.shutdown(socket.SHUT_RDWR)
        until(lambda: len(pauses) > 2)
        here.stop()
    assert [exc.errno for exc in reports] == [errno.EINVAL]


def test_host_and_port() -> None:
    with create_listener("127.0.0.1", None) as listener:
        assert listener.family == socket.AF_INET
        host, port = listener.getsockname()
        assert host == "127.0.0.1" and port > 0
        with pytest.raises(OSError) as raised:
            create_listener("127.0.0.1", port)
        assert raised.value.errno == errno.EADDRINUSE


@ipv6
def test_ipv6() -> None:
    with create_listener("::1", 0) as listener:
        assert listener.family == socket.AF_INET6


@ipv6
@pytest.mark.parametrize("host", [None, ""])
def test_all_interfaces(host: str | None) -> None:
    with create_listener(host, 0) as listener:
        port = listener.getsockname()[1]
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, port)).close()


def test_arguments_of_create_server() -> None:
    with create_listener("127.0.0.1", 0, family=socket.AF_INET, backlog=1) as listener:
        assert listener.family == socket.AF_INET
    with pytest.raises(TypeError):
        create_listener("127.0.0.1", 0, unknown=1)


# Unix sockets.


def test_socket_of_a_dead_process_is_replaced(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with create_unix_listener(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_socket_of_a_living_process_is_kept(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "socket")
    with create_unix_listener(path, backlog=0):
        with pytest.raises(OSError) as raised:
            create_unix_listener(path)
        assert raised.value.errno == errno.EADDRINUSE
        # Also when it has no room for another connection.
        waiting = []
        for _ in range(3):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            client.connect_ex(path)
            waiting.append(client)
        with pytest.raises(OSError):
            create_unix_listener(path)
        for client in waiting:
            client.close()
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            assert client.connect_ex(path) in (0, errno.EAGAIN)


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_is_no_socket_is_kept(kind: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "precious"
    if kind == "file":
        path.write_text("precious")
    else:
        path.mkdir()
    with pytest.raises(FileExistsError, match="not a socket.*precious"):
        create_unix_listener(str(path))
    assert path.exists()


def test_symbolic_link_is_kept(tmp_path: pathlib.Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError):
        create_unix_listener(str(tmp_path / "link"))
    assert (tmp_path / "precious").read_text() == "precious"


def test_no_directory_for_the_socket(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        create_unix_listener(str(tmp_path / "missing" / "socket"))


def test_file_of_a_socket_is_removed(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "socket"
    with create_unix_listener(str(path)):
        assert path.is_socket()
        remove_socket(str(path))
        assert not path.exists()
        # It is gone already.
        remove_socket(str(path))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such sockets")
def test_abstract_socket_has_no_file() -> None:
    path = f"\0geventws-{os.getpid()}"
    with create_unix_listener(path):
        remove_socket(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)


# Descriptors run out.


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "PAUSE", 0.01)


@pytest.mark.usefixtures("short_pauses")
def test_pause_and_resume() -> None:
    reports: list[OSError] = []
    accepted: Queue[socket.socket] = Queue()
    with create_listener("127.0.0.1", 0) as listener:
        with socket.create_connection(listener.getsockname()):
            with no_descriptors():
                hub = gevent.get_hub()
                acceptor = Acceptor(
                    listener, hub, lambda sock, _: accepted.put(sock), reports.append
                )
                until(lambda: reports)
                pause = acceptor._timer
                until(lambda: acceptor._timer not in (None, pause))
            accepted.get(timeout=PATIENCE).close()
            # Only once for all that waited.
            assert [exc.errno for exc in reports] == [errno.EMFILE]
        acceptor.stop()


@pytest.mark.usefixtures("short_pauses")
def test_stop_in_a_pause(capsys: pytest.CaptureFixture[str]) -> None:
    exhausted = Event()
    with create_listener("127.0.0.1", 0) as listener:
        with socket.create_connection(listener.getsockname()):
            with no_descriptors():
                hub = gevent.get_hub()
                acceptor = Acceptor(listener, hub, pytest.fail, lambda _: exhausted.set())
                assert exhausted.wait(PATIENCE)
            acceptor.stop()
            # Past the end of the pause.
            gevent.sleep(0.02)
    assert capsys.readouterr().err == ""


EXHAUSTED = """
import logging, resource, socket, sys
import gevent
import geventws
from geventws.testing import RawClient

records = []

class Handler(logging.Handler):
    def emit(self, record):
        assert gevent.getcurrent() is not gevent.get_hub()
        records.append(record)

logging.getLogger("geventws").addHandler(Handler())

def echo(ws):
    for message in ws:
        ws.send(message)

def exhaust(server):
    # As many clients as there are descriptors: the server gets only half of them.
    clients = []
    try:
        while True:
            sock = gevent.socket.socket()
            clients.append(sock)
            sock.connect(server.address)
    except OSError as exc:
        assert exc.errno == 24, exc
    return clients

with geventws.serve(echo, "127.0.0.1", 0, open_timeout=None) as server:
    early = geventws.connect("ws://127.0.0.1:%d" % server.address[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    for round in range(1, 3):
        clients = exhaust(server)
        # Several pauses pass, and the hub is not kept busy by what it cannot accept.
        while len(records) < round:
            gevent.sleep(0.01)
        usage = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        gevent.sleep(0.5)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - usage < 0.25
        early.send("still here")
        assert early.recv(10) == "still here"
        for sock in clients:
            sock.close()
        while len(server._roster.greenlets) > 1:
            gevent.sleep(0.01)
        with geventws.connect("ws://127.0.0.1:%d" % server.address[1]) as late:
            late.send("hello")
            assert late.recv(10) == "hello"
        errors = [r for r in records if r.levelno >= logging.ERROR]
        assert len(errors) == round, [r.getMessage() for r in errors]
    early.close()
print(errors[0].getMessage())
print(errors[0].exc_info[1])
"""


def test_descriptors_run_out() -> None:
    root = os.path.dirname(os.path.dirname(geventws.__file__))
    result = subprocess.run(
        [sys.executable, "-c", EXHAUSTED],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "cannot accept connections for now",
        "[Errno 24] Too many open files",
    ]
