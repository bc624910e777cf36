"""The gunicorn worker: real processes, real signals, and what WebSockets see of their end."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent import socket

from geventws import Opcode
from geventws.testing import RawClient
from tests.net.support import PATIENCE
from tests.wsgi.support import Process, gunicorn, running

APP = "tests.wsgi.worker_app:app"
WORKERS = ["geventws.gunicorn.Worker", "geventws.gunicorn.PyWSGIWorker"]

# A graceful timeout that no test waits for: what ends before has ended because it was done.
LONG = "600"


@contextlib.contextmanager
def working(*arguments: str, worker: str = WORKERS[0], graceful: str = LONG) -> Iterator[Process]:
    """Run gunicorn with a worker of ours."""
    options = ["--graceful-timeout", graceful, *arguments]
    process = Process(gunicorn(worker, APP, None, *options))
    try:
        process.wait_for("Booting worker")
        yield process
    finally:
        # A master that is killed leaves its workers behind; they notice within a second.
        process.stop()


def workers(process: Process) -> list[int]:
    """The process ids of all workers so far."""
    return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", process.log)]


def assert_going_away(client: RawClient) -> None:
    """The server closes with 1001, and nothing else comes."""
    frame = client.recv_frame()
    assert frame is not None and (frame.opcode, frame.data) == (Opcode.CLOSE, b"\x03\xe9")
    client.send_frame(Opcode.CLOSE, frame.data)
    assert client.recv_frame() is None
    client.close()


def assert_exits(process: Process, status: int = 0) -> None:
    """The master ends, and so do its workers, without a complaint."""
    assert process.process.wait(timeout=PATIENCE) == status
    log = process.log
    assert "Traceback" not in log and "graceful timeout" not in log, log
    assert log.count("Worker exiting") == len(workers(process))


def echoing(process: Process) -> RawClient:
    client = process.open("/echo")
    client.send_frame(Opcode.TEXT, b"hello")
    frame = client.recv_frame()
    assert frame is not None and frame.data == b"hello"
    return client


@pytest.mark.deadline(120)
@pytest.mark.parametrize("worker", WORKERS)
def test_term_with_200_websockets(worker: str) -> None:
    with working(worker=worker) as process:
        clients = [echoing(process) for _ in range(200)]
        process.process.send_signal(signal.SIGTERM)
        for client in clients:
            assert_going_away(client)
        assert_exits(process)
        assert process.log.count('"GET /echo HTTP/1.1" 101 ') == 200


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_signal_to_the_master(sig: int, tls: bool) -> None:
    with running("worker-tls" if tls else "worker", APP, "--graceful-timeout", LONG) as process:
        clients = [echoing(process) for _ in range(3)]
        process.process.send_signal(sig)
        for client in clients:
            assert_going_away(client)
        assert_exits(process)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_signal_to_the_worker(sig: int) -> None:
    with working() as process:
        client = echoing(process)
        os.kill(workers(process)[0], sig)
        assert_going_away(client)
        # The master puts another one in its place.
        process.wait_for(r"(?s)Booting worker.*Worker exiting.*Booting worker")
        client = echoing(process)
        process.process.send_signal(signal.SIGTERM)
        assert_going_away(client)
        assert_exits(process)


def test_ctrl_c_reaches_master_and_worker() -> None:
    with working() as process:
        client = echoing(process)
        os.kill(workers(process)[0], signal.SIGINT)
        process.process.send_signal(signal.SIGINT)
        assert_going_away(client)
        assert_exits(process)


def test_hup_replaces_the_worker() -> None:
    with working() as process:
        clients = [echoing(process) for _ in range(3)]
        process.process.send_signal(signal.SIGHUP)
        for client in clients:
            assert_going_away(client)
        process.wait_for("Worker exiting")
        client = echoing(process)
        status, pid = process.get("/")
        assert status == 200 and int(pid) == workers(process)[1]
        process.process.send_signal(signal.SIGTERM)
        assert_going_away(client)
        assert_exits(process)


def test_max_requests_replaces_the_worker() -> None:
    with working("--max-requests", "5") as process:
        clients = [echoing(process) for _ in range(3)]
        pids = {process.get("/")[1] for _ in range(2)}
        assert pids == {str(workers(process)[0]).encode()}
        for client in clients:
            assert_going_away(client)
        process.wait_for(r"(?s)Booting worker.*Worker exiting.*Booting worker")
        assert "Autorestarting worker" in process.log
        client = echoing(process)
        process.process.send_signal(signal.SIGTERM)
        assert_going_away(client)
        assert_exits(process)


def test_websocket_that_is_the_last_of_max_requests() -> None:
    with working("--max-requests", "1") as process:
        client = process.open("/echo")
        assert_going_away(client)
        process.wait_for(r"(?s)Booting worker.*Worker exiting.*Booting worker")
        assert "Traceback" not in process.log


def test_reload_of_changed_source(tmp_path: pathlib.Path) -> None:
    watched = tmp_path / "watched"
    watched.write_text("before")
    os.utime(watched, (0, 0))
    arguments = ["--reload", "--reload-engine", "poll", "--reload-extra-file", str(watched)]
    with working(*arguments) as process:
        client = echoing(process)
        # The reloader notes the time of each file when it looks for the first time.
        with contextlib.closing(gevent.get_hub().loop.timer(0.2, 0.2)) as timer:
            times = iter(range(1, 10**6))
            timer.start(lambda: os.utime(watched, (0, next(times))))
            assert_going_away(client)
            process.wait_for(r"(?s)Booting worker.*Worker exiting.*Booting worker")
        assert "Traceback" not in process.log


@pytest.mark.parametrize("worker", WORKERS)
def test_handler_that_ignores_the_close_is_killed(worker: str) -> None:
    with working(worker=worker, graceful="2") as process:
        client = process.open("/ignore")
        process.process.send_signal(signal.SIGTERM)
        frame = client.recv_frame()
        assert frame is not None and frame.data == b"\x03\xe9"
        assert process.process.wait(timeout=PATIENCE) == 0
        process.wait_for("Worker graceful timeout")
        process.wait_for("cleaned up")
        assert "Traceback" not in process.log
        client.close()


def test_quit_after_term_kills_at_once() -> None:
    with working() as process:
        client = process.open("/ignore")
        process.process.send_signal(signal.SIGTERM)
        frame = client.recv_frame()
        assert frame is not None and frame.data == b"\x03\xe9"
        process.process.send_signal(signal.SIGQUIT)
        assert process.process.wait(timeout=PATIENCE) == 0
        process.wait_for("cleaned up")
        assert "Traceback" not in process.log
        client.close()


@pytest.mark.parametrize("worker", WORKERS)
def test_plain_requests_in_flight_finish(worker: str) -> None:
    with working(worker=worker) as process:
        slow = gevent.spawn(process.get, "/slow")
        process.wait_for("slow begins")
        client = process.open("/release")
        process.process.send_signal(signal.SIGTERM)
        # Only now the plain request goes on.
        assert_going_away(client)
        assert slow.get(timeout=PATIENCE) == (200, b"slow ends")
        with pytest.raises(OSError):
            socket.create_connection(process.address, PATIENCE)
        assert_exits(process)


def test_websocket_that_opens_while_the_worker_stops() -> None:
    with working() as process:
        late = gevent.spawn(process.open, "/late")
        process.wait_for("late begins")
        client = process.open("/release")
        process.process.send_signal(signal.SIGTERM)
        assert_going_away(client)
        assert_going_away(late.get(timeout=PATIENCE))
        assert_exits(process)


def test_client_that_does_not_answer_the_close() -> None:
    """The connection's own `close_timeout` ends the wait for it, long before gunicorn's."""
    with running("worker", "decorated", "--graceful-timeout", LONG, close_timeout=0.2) as process:
        client = process.open("/")
        process.process.send_signal(signal.SIGTERM)
        frame = client.recv_frame()
        assert frame is not None and frame.data == b"\x03\xe9"
        assert client.recv_frame() is None
        assert process.process.wait(timeout=PATIENCE) == 0
        client.close()


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("worker", ["worker", "worker-pywsgi"])
def test_client_that_keeps_its_connection(worker: str, tls: bool) -> None:
    """A browser keeps connections for its next requests; the worker does not wait for those."""
    options = ["--graceful-timeout", LONG, "--keep-alive", LONG]
    with running(worker + "-tls" * tls, APP, *options) as process:
        pid = process.wait_for(r"Booting worker with pid: (\d+)").group(1).encode()
        client = process.connect()
        for _ in range(2):
            client.send_bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while pid not in answer:
                answer += client.sock.recv(65536)
        process.process.send_signal(signal.SIGTERM)
        assert_exits(process)
        client.close()


def test_idle_worker_stops() -> None:
    with working() as process:
        # Before it serves, gunicorn's worker does not hear the signal.
        process.get("/")
        process.process.send_signal(signal.SIGTERM)
        assert_exits(process)


def test_gunicorn_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import sys

    import geventws.gunicorn as module

    monkeypatch.setitem(sys.modules, "gunicorn.workers.ggevent", None)
    with pytest.raises(ImportError, match=r"pip install 'geventws\[gunicorn\]'"):
        importlib.reload(module)


def test_imports_the_real_gunicorn() -> None:
    from gunicorn.workers.ggevent import GeventWorker

    import geventws.gunicorn as ours

    bases: Any = ours.Worker.__mro__
    assert GeventWorker in bases
