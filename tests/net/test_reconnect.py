"""Reconnecting: loops, delays, and everything that ends them."""

from __future__ import annotations

import itertools
import logging
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event

from geventws import (
    BackgroundConnection,
    ConnectionClosed,
    Headers,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
    Response,
    SecurityError,
    State,
    backoff,
    process_exception,
    reconnect,
    serve,
    unix_reconnect,
    unix_serve,
)
from geventws.testing import RawServer
from tests.net.support import (
    HOST,
    PATIENCE,
    black_hole,
    check_no_greenlet_is_left,
    echo,
    free_port,
    greenlets,
    in_thread,
    serving,
    until,
    uri_of,
)


def at_once() -> Iterator[float]:
    return itertools.repeat(0)


class Codes:
    """A handler that says hello, and notes the close code of each connection."""

    def __init__(self) -> None:
        self.seen: list[int | None] = []

    def __call__(self, ws: Any) -> None:
        ws.send("hello")
        ws.wait_closed()
        self.seen.append(ws.close_code)


# Delays.


def test_backoff() -> None:
    first, *others = itertools.islice(backoff(), 12)
    assert 0 <= first < 5
    expected = [3.1 * 1.618**number for number in range(8)]
    assert others == pytest.approx([*expected, 90, 90, 90])


def test_backoff_with_arguments() -> None:
    delays = backoff(initial_delay=0, min_delay=1, max_delay=5, factor=2)
    assert list(itertools.islice(delays, 6)) == [0, 1, 2, 4, 5, 5]


def test_backoff_of_the_environment() -> None:
    environ = {
        "GEVENTWS_BACKOFF_INITIAL_DELAY": "0",
        "GEVENTWS_BACKOFF_MIN_DELAY": "1.5",
        "GEVENTWS_BACKOFF_FACTOR": "2",
        "GEVENTWS_BACKOFF_MAX_DELAY": "4",
    }
    program = "import geventws, itertools; print(*itertools.islice(geventws.backoff(), 5))"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environ},
        capture_output=True,
        check=True,
        text=True,
    )
    assert result.stdout.split() == ["0.0", "1.5", "3.0", "4.0", "4.0"]


# Which errors are worth another attempt.


def status(code: int) -> InvalidStatus:
    return InvalidStatus(Response(code, "", Headers()))


def caused_by(exc: Exception, cause: Exception) -> Exception:
    exc.__cause__ = cause
    return exc


@pytest.mark.parametrize(
    "exc, transient",
    [
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (OSError(), True),
        (caused_by(InvalidMessage(), EOFError()), True),
        (caused_by(InvalidMessage(), ValueError()), False),
        (InvalidMessage(), False),
        (status(500), True),
        (status(502), True),
        (status(503), True),
        (status(504), True),
        (status(501), False),
        (status(404), False),
        (SecurityError(), False),
        (ValueError(), False),
    ],
)
def test_process_exception(exc: Exception, transient: bool) -> None:
    assert process_exception(exc) is (None if transient else exc)


# The loop.


def test_each_turn_has_a_connection_of_its_own() -> None:
    handler, seen = Codes(), []
    with serving(handler) as server:
        for ws in reconnect(uri_of(server)):
            assert ws.state is State.OPEN
            assert ws.recv() == "hello"
            seen.append(ws)
            if len(seen) == 3:
                break
            # The end of the turn closes it, and so does `break`.
        assert [ws.close_code for ws in seen] == [1000] * 3
        until(lambda: len(handler.seen) == 3)
    assert handler.seen == [1000] * 3


def test_connections_that_the_server_closes() -> None:
    turns = 0
    with serving(lambda ws: ws.send("hello")) as server:
        for ws in reconnect(uri_of(server)):
            turns += 1
            try:
                while True:
                    assert ws.recv() == "hello"
            except ConnectionClosed:
                if turns < 3:
                    continue
                break
    assert turns == 3


class Odd(Exception):
    """What happens in the body of a loop."""


@pytest.mark.parametrize("exc", [Odd, gevent.Timeout, gevent.GreenletExit, OSError])
def test_exceptions_of_the_body_leave_the_loop(exc: type[BaseException]) -> None:
    handler = Codes()
    with serving(handler) as server:
        with pytest.raises(exc):
            for ws in reconnect(uri_of(server)):
                assert ws.recv() == "hello"
                raise exc
        until(lambda: handler.seen)
    assert handler.seen == [1000]


def test_kill_in_the_body() -> None:
    handler, waiting = Codes(), Event()

    def body() -> None:
        for ws in reconnect(uri_of(server)):
            assert ws.recv() == "hello"
            waiting.set()
            ws.recv()

    with serving(handler) as server:
        client = gevent.spawn(body)
        assert waiting.wait(PATIENCE)
        client.kill()
        until(lambda: handler.seen)
    assert handler.seen == [1000]
    assert isinstance(client.value, gevent.GreenletExit)


# Failures.


def test_reconnects_after_delays_that_start_over(caplog: pytest.LogCaptureFixture) -> None:
    port, begun, servers = free_port(), [], []

    def delays() -> Iterator[float]:
        begun.append(port)
        yield 0.01
        servers.append(serve(echo, HOST, port))
        servers[-1].start()
        yield 0.06

    caplog.set_level(logging.INFO, "geventws.client")
    turns = 0
    for ws in reconnect(f"ws://{HOST}:{port}/", reconnect_delays=delays):
        assert ws.state is State.OPEN
        servers[-1].shutdown()
        turns += 1
        if turns == 2:
            break
    reason = "ConnectionRefusedError: [Errno 111] Connection refused"
    # The loggers may be at DEBUG.
    records = [record for record in caplog.records if "reconnecting" in record.message]
    assert [record.message for record in records] == 2 * [
        f"connect failed; reconnecting in {delay} seconds: {reason}" for delay in ("0.0", "0.1")
    ]
    assert {(record.name, record.levelname) for record in records} == {("geventws.client", "INFO")}
    assert not any(record.exc_info for record in records)
    assert len(begun) == 2


def test_fatal_error() -> None:
    with serving(echo, origins=["https://good"]) as server:
        with pytest.raises(InvalidStatus):
            next(iter(reconnect(uri_of(server))))


def test_refusal_that_may_pass(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "geventws.client")
    answers = [503, 200]

    def process_request(ws: Any, request: Any) -> Any:
        code = answers.pop(0)
        return None if code == 200 else ws.respond(code, "later\n")

    with serving(echo, process_request=process_request) as server:
        for _ in reconnect(uri_of(server), reconnect_delays=at_once):
            break
    assert "InvalidStatus: server rejected WebSocket connection: HTTP 503" in caplog.text


@pytest.mark.parametrize("raising", [False, True])
def test_process_exception_that_makes_another(raising: bool) -> None:
    def process(exc: Exception) -> Exception:
        if raising:
            raise Odd("replaced")
        return Odd("replaced")

    with pytest.raises(Odd, match="replaced") as raised:
        next(iter(reconnect(f"ws://{HOST}:{free_port()}/", process_exception=process)))
    chained = raised.value.__context__ if raising else raised.value.__cause__
    assert isinstance(chained, ConnectionRefusedError)


def test_process_exception_may_call_everything_transient() -> None:
    with serving(echo, origins=["https://good"]) as server:
        with pytest.raises(InvalidStatus):
            attempts = reconnect(
                uri_of(server),
                process_exception=lambda exc: None,
                reconnect_delays=lambda: [0, 0],
            )
            next(iter(attempts))


def test_delays_that_end() -> None:
    with pytest.raises(ConnectionRefusedError):
        for _ in reconnect(f"ws://{HOST}:{free_port()}/", reconnect_delays=lambda: [0, 0]):
            raise AssertionError("nobody listens")


def test_bad_uri_at_once() -> None:
    with pytest.raises(InvalidURI):
        reconnect("http://localhost/", process_exception=lambda exc: None)


def test_arguments_are_those_of_connect() -> None:
    with serving(lambda ws: ws.send(ws.request.headers["X-Own"])) as server:
        for ws in reconnect(uri_of(server), additional_headers={"X-Own": "1"}, compression=None):
            assert ws.recv() == "1"
            break
    with pytest.raises(TypeError, match="unknown"):
        next(iter(reconnect(uri_of(server), unknown=1)))


def test_logger() -> None:
    logger = logging.getLogger("own")
    records: list[logging.LogRecord] = []
    logger.addFilter(lambda record: bool(records.append(record)))
    logger.setLevel(logging.INFO)
    with pytest.raises(ConnectionRefusedError):
        uri = f"ws://{HOST}:{free_port()}/"
        next(iter(reconnect(uri, logger=logger, reconnect_delays=lambda: iter([0]))))
    assert len(records) == 1
    assert not hasattr(records[0], "websocket")


# Timeouts and kills.


@pytest.mark.parametrize("exc", [gevent.GreenletExit, gevent.Timeout])
@pytest.mark.parametrize("stage", ["delay", "tcp", "handshake"])
def test_interrupted(stage: str, exc: type[BaseException]) -> None:
    before = greenlets()

    def loop(address: Any) -> None:
        for _ in reconnect(f"ws://{address[0]}:{address[1]}/", reconnect_delays=lambda: iter([9])):
            raise AssertionError("nobody answers")

    with RawServer() as server, black_hole() as dead:
        address = {"delay": (HOST, free_port()), "tcp": dead, "handshake": server.address}[stage]
        client = gevent.spawn(loop, address)
        if stage == "handshake":
            with server.accept(open=False) as peer:
                peer.sock.recv(65536)
                client.kill(exc)
                peer.recv_eof()
        else:
            gevent.sleep(0.05)
            client.kill(exc)
        assert client.dead
    check_no_greenlet_is_left(before)


def test_threads_leave_nothing_behind() -> None:
    def refused() -> Any:
        with pytest.raises(ConnectionRefusedError):
            next(iter(reconnect(uri, reconnect_delays=lambda: iter([0.01, 0.01]))))
        return get_hub_if_exists()

    uri = f"ws://{HOST}:{free_port()}/"
    assert in_thread(refused) is None


def test_in_the_background() -> None:
    handler = Codes()
    with serving(handler) as server:
        for ws in reconnect(uri_of(server), background=True):
            assert isinstance(ws, BackgroundConnection)
            assert ws.recv() == "hello"
            if len(handler.seen) == 1:
                break
        until(lambda: len(handler.seen) == 2)
    assert handler.seen == [1000, 1000]


def test_no_loop_with_a_preexisting_socket() -> None:
    with serving(echo) as server:
        uri, sock = uri_of(server), gevent.socket.create_connection(server.address)
        with pytest.raises(ValueError, match="say address"):
            next(iter(reconnect(uri, sock=sock)))
        with reconnect(uri, sock=sock) as ws:
            ws.send("hello")
            assert ws.recv() == "hello"


# As a context manager.


def test_context_manager() -> None:
    handler = Codes()
    with serving(handler) as server:
        once = reconnect(uri_of(server))
        for _ in range(2):
            with once as ws:
                assert ws.recv() == "hello"
        with pytest.raises(Odd):
            with once as ws:
                assert ws.recv() == "hello"
                raise Odd
        until(lambda: len(handler.seen) == 3)
    assert handler.seen == [1000, 1000, 1011]


def test_context_manager_does_not_try_again() -> None:
    once = reconnect(f"ws://{HOST}:{free_port()}/")
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            with once:
                raise AssertionError("nobody listens")


def test_not_reentrant() -> None:
    with serving(echo) as server:
        once = reconnect(uri_of(server))
        with once:
            with pytest.raises(RuntimeError, match=r"reconnect\(\) isn't reentrant"):
                once.__enter__()
            with pytest.raises(RuntimeError, match=r"reconnect\(\) isn't reentrant"):
                next(iter(once))
        for _ in once:
            with pytest.raises(RuntimeError, match=r"reconnect\(\) isn't reentrant"):
                next(iter(once))
            break
        with once:
            pass


# Unix sockets.


def test_unix_reconnect(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "socket"
    with unix_serve(echo, path):
        for ws in unix_reconnect(path):
            ws.send("hello")
            assert ws.recv() == "hello"
            break
    with pytest.raises(FileNotFoundError):
        next(iter(unix_reconnect(path, reconnect_delays=lambda: iter([0]))))
    with pytest.raises(ValueError, match="needs a path"):
        unix_reconnect()
