"""Logging: what records carry, who may configure it, and what it must never break."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import gevent
import pytest
from gevent.event import Event

import geventws
from geventws import ConnectionClosed, ConnectionClosedError, Opcode, State, connect
from geventws.core.journal import Line
from geventws.net.logs import ConnectionLogger, emit, log_safely
from geventws.testing import RawClient
from tests.net.support import (
    PATIENCE,
    client_tls,
    echo,
    pair,
    raw_client,
    raw_server,
    server_tls,
    serving,
    until,
    uri_of,
)

LEVELS = pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO], ids=["DEBUG", "INFO"])


class Collect(logging.Handler):
    """Keep all records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def make_logger(request: pytest.FixtureRequest) -> Iterator[Callable[..., logging.Logger]]:
    """Make loggers that only the test knows."""
    loggers = []

    def make(level: int, handler: logging.Handler) -> logging.Logger:
        logger = logging.getLogger(f"tests.{request.node.name}.{len(loggers)}")
        logger.propagate = False
        logger.setLevel(level)
        logger.addHandler(handler)
        loggers.append((logger, handler))
        return logger

    yield make
    for logger, handler in loggers:
        logger.removeHandler(handler)


# Records.


def test_connection_logger_adds_the_connection_to_a_fresh_extra() -> None:
    collect = Collect()
    logger = logging.Logger("test")
    logger.addHandler(collect)
    adapter = ConnectionLogger(logger, "the connection")
    adapter.error("one", extra={"own": 1})
    adapter.error("two")
    one, two = collect.records
    assert (one.websocket, one.own) == ("the connection", 1)  # type: ignore[attr-defined]
    assert two.websocket == "the connection"  # type: ignore[attr-defined]
    assert not hasattr(two, "own")


def test_lines_below_the_level_are_not_formatted() -> None:
    class Bomb:
        def __str__(self) -> str:
            raise AssertionError("formatted")

    logger = logging.Logger("test", logging.INFO)
    emit(logger, None, Line(logging.DEBUG, "%s", (Bomb(),), None))


def test_applications_log_by_the_connection(make_logger: Callable[..., logging.Logger]) -> None:
    collect = Collect()
    with pair(server={"logger": make_logger(logging.INFO, collect)}) as (_, ws):
        ws.logger.warning("my own %s", "line")
    record = next(record for record in collect.records if record.levelname == "WARNING")
    assert record.getMessage() == "my own line"
    assert record.websocket is ws  # type: ignore[attr-defined]


def test_records_about_the_server_have_no_connection(
    make_logger: Callable[..., logging.Logger],
) -> None:
    collect = Collect()
    with serving(echo, logger=make_logger(logging.INFO, collect)) as server:
        with connect(uri_of(server)):
            pass
        until(lambda: not server._roster.greenlets)
    assert [hasattr(record, "websocket") for record in collect.records] == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert collect.messages[1:3] == ["connection open", "connection closed"]


# The hub.


class Watchman(logging.Handler):
    """Note each record that is made where nothing may wait."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.caught: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
        if gevent.getcurrent() is gevent.get_hub():
            self.caught.append(record.getMessage())


def chatter(ws: Any) -> None:
    """A handler for many ways in which a session goes."""
    for message in ws:
        if message == "crash":
            raise RuntimeError("oops")
        if message == "die":
            gevent.getcurrent().kill()
        if message == "flood":
            for _ in range(50):
                ws.send(bytes(100_000))
        ws.send([message, message])


def misbehave(server: Any) -> None:
    """Do what clients should not."""
    address = server.address
    for data in [b"", b"\0", b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"]:
        with RawClient(address, open=False) as peer:
            peer.send_bytes(data)
            peer.sock.shutdown(1)
            peer.recv_eof()
    for frame in [b"\x81\x85abcd", b"\x81\x05hello", b"\x88\x81abcde", b"\x83\x80abcd"]:
        with RawClient(address) as peer:
            peer.send_bytes(frame)
            peer.sock.shutdown(1)
            peer.recv_eof()
    RawClient(address).reset()
    with RawClient(address) as peer:
        # Neither reads, nor answers pings, nor the close frame.
        peer.send_frame(Opcode.TEXT, b"flood")
        until(lambda: not server._roster.greenlets)
    with RawClient(address) as peer:
        for _ in range(100):
            peer.send_frame(Opcode.TEXT, b"x")
        peer.send_frame(Opcode.CLOSE)
        peer.recv_eof()


@LEVELS
def test_no_record_is_made_in_the_hub(
    level: int, make_logger: Callable[..., logging.Logger]
) -> None:
    watchman = Watchman()
    logger = make_logger(level, watchman)
    options = {"ping_interval": 0.05, "ping_timeout": 0.05, "close_timeout": 0.1}
    for tls in (None, server_tls()):
        with serving(chatter, logger=logger, ssl=tls, open_timeout=0.2, **options) as server:
            uri = uri_of(server, "wss" if tls else "ws")
            client = {"logger": logger, "ssl": client_tls() if tls else None, "ping_interval": 0.1}
            with connect(uri, **client) as ws:
                ws.send("a")
                assert ws.recv() == "aa"
                until(lambda: ws.latency)
            for last_words in ("crash", "die"):
                with connect(uri, **client) as ws:
                    ws.send(last_words)
                    with pytest.raises(ConnectionClosed):
                        ws.recv()
            with RawClient(server.address, open=False) as stalled:
                assert stalled.recv_eof()
            if tls is None:
                misbehave(server)
            forgotten = connect(uri, **client)
        assert forgotten.wait_closed(PATIENCE)
    assert watchman.caught == []
    assert watchman.count > (100 if level == logging.DEBUG else 20)


# Adapters.


class Adapter(logging.LoggerAdapter[logging.Logger]):
    """Prefix messages with what the connection tells of itself."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logger, {})
        self.requests: set[bool] = set()
        self.extras: list[Any] = []

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        try:
            websocket = kwargs["extra"]["websocket"]
        except KeyError:
            return msg, kwargs
        self.extras.append(kwargs["extra"])
        assert "event_data" not in kwargs["extra"]
        kwargs["extra"]["event_data"] = {"connection_id": str(websocket.id)}
        self.requests.add(websocket.request is None)
        forwarded = websocket.request and websocket.request.headers.get("X-Forwarded-For")
        return f"{websocket.id} {websocket.remote_address[0]} {forwarded} {msg}", kwargs


@LEVELS
def test_adapters(level: int, make_logger: Callable[..., logging.Logger]) -> None:
    server_log, client_log = Collect(), Collect()
    server_adapter = Adapter(make_logger(level, server_log))
    client_adapter = Adapter(make_logger(level, client_log))
    with serving(echo, logger=server_adapter) as server:
        headers = {"X-Forwarded-For": "1.2.3.4"}
        with connect(
            uri_of(server), logger=client_adapter, additional_headers=headers, compression=None
        ) as ws:
            ws.send("100%")
            assert ws.recv() == "100%"
        with RawClient(server.address, open=False) as peer:
            peer.sock.shutdown(1)
            assert peer.recv_eof()
        until(lambda: not server._roster.greenlets)
    messages = server_log.messages
    opened = next(message for message in messages if message.endswith("connection open"))
    connection_id = opened.split()[0]
    prefix = f"{connection_id} 127.0.0.1 1.2.3.4"
    # The addresses, the id and the request are known after the end, too.
    assert f"{prefix} connection closed" in messages
    assert server_adapter.requests == {True, False}
    assert len({id(extra) for extra in server_adapter.extras}) == len(server_adapter.extras)
    if level == logging.DEBUG:
        assert f"{prefix} < TEXT '100%' [4 bytes]" in messages
        assert f"{ws.id} 127.0.0.1 1.2.3.4 > TEXT '100%' [4 bytes]" in client_log.messages
    else:
        assert client_log.messages == []
    record = next(record for record in server_log.records if hasattr(record, "event_data"))
    assert record.event_data["connection_id"] == str(record.websocket.id)  # type: ignore[attr-defined]


class Meddler(logging.LoggerAdapter[logging.Logger]):
    """Call methods of the connection from inside the log."""

    def __init__(self, logger: logging.Logger, meddle: Callable[[Any, str], object]) -> None:
        super().__init__(logger, {})
        self.meddle = meddle

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        if "extra" in kwargs:
            self.meddle(kwargs["extra"]["websocket"], msg)
        return msg, kwargs


def test_adapter_may_send_and_ping(make_logger: Callable[..., logging.Logger]) -> None:
    sent = []

    def meddle(ws: Any, msg: str) -> None:
        if ws.state is State.OPEN and len(sent) < 5:
            sent.append(msg)
            ws.send(f"meddled {len(sent)}")
            ws.ping()

    logger = Meddler(make_logger(logging.DEBUG, Collect()), meddle)
    with serving(echo, logger=logger) as server:
        with connect(uri_of(server), compression=None) as ws:
            ws.send("hello")
            received = [ws.recv(PATIENCE) for _ in range(6)]
    assert sorted(map(str, received)) == ["hello", *(f"meddled {n}" for n in range(1, 6))]


@pytest.mark.parametrize(
    "when", ["connection open", "= connection is %s", "< %s", "> %s", "% sent keepalive ping"]
)
def test_adapter_may_close(when: str, make_logger: Callable[..., logging.Logger]) -> None:
    def meddle(ws: Any, msg: str) -> None:
        if msg == when and ws.state is State.OPEN:
            ws.close(4000, "meddled")

    logger = Meddler(make_logger(logging.DEBUG, Collect()), meddle)
    with serving(echo, logger=logger, ping_interval=0.2) as server:
        with connect(uri_of(server), compression=None) as ws:
            if when[0] in "<>":
                ws.send("hello")
            with pytest.raises(ConnectionClosedError):
                while True:
                    ws.recv(PATIENCE)
            assert ws.close_code == 4000


@LEVELS
@pytest.mark.parametrize("breaker", ["adapter", "handler"])
def test_logging_that_raises_breaks_nothing(
    level: int,
    breaker: str,
    make_logger: Callable[..., logging.Logger],
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("broken logging")

    def meddle(ws: Any, msg: str) -> None:
        raise RuntimeError("broken logging")

    logger: Any
    if breaker == "adapter":
        logger = Meddler(make_logger(level, Collect()), meddle)
    else:
        logger = make_logger(level, Broken())
    with serving(echo, logger=logger) as server:
        with connect(uri_of(server), logger=logger) as ws:
            ws.send("hello")
            assert ws.recv() == "hello"
        assert ws.close_code == 1000
        until(lambda: not server._roster.greenlets)
    # It is not hidden either.
    assert "broken logging" in capsys.readouterr().err


@LEVELS
def test_handler_that_sleeps(level: int, make_logger: Callable[..., logging.Logger]) -> None:
    class Slow(Collect):
        def emit(self, record: logging.LogRecord) -> None:
            gevent.sleep(0.002)
            super().emit(record)

    slow = Slow()
    logger = make_logger(level, slow)
    with serving(echo, logger=logger) as server:
        with connect(uri_of(server), logger=make_logger(level, Slow())) as ws:
            for number in range(20):
                ws.send(str(number))
            assert [ws.recv(PATIENCE) for _ in range(20)] == [str(n) for n in range(20)]
        assert ws.close_code == 1000
        until(lambda: slow.messages[-1] == "connection closed")
    # In order, although many greenlets write.
    if level == logging.DEBUG:
        received = [message for message in slow.messages if message.startswith("< TEXT")]
        assert received == [f"< TEXT '{n}' [{len(str(n))} byte{'s' * (n > 9)}]" for n in range(20)]


class Stuck(logging.Handler):
    """Block on one message for as long as the test wants."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self.message = message
        self.reached, self.release = Event(), Event()

    def handle(self, record: logging.LogRecord) -> bool:
        # Without the logging module's lock, which would stop all others who log here.
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith(self.message):
            self.reached.set()
            self.release.wait()


@pytest.mark.parametrize("message", ["< TEXT", "> TEXT", "% sent keepalive ping", "< PING"])
def test_handler_that_blocks_stops_no_other_connection(
    message: str, make_logger: Callable[..., logging.Logger]
) -> None:
    stuck = Stuck(message)
    logger = make_logger(logging.DEBUG, stuck)
    with serving(echo, logger=logger, ping_interval=0.2, compression=None) as server:
        with connect(uri_of(server), compression=None) as blocked:
            blocked.ping()
            blocked.send("blocked")
            assert stuck.reached.wait(PATIENCE)
            # Another server, with other logging, on the same hub: keepalive and close
            # timeout are served.
            with raw_client(ping_interval=0.05, ping_timeout=0.05, close_timeout=0.05) as (
                peer,
                ws,
            ):
                assert peer.recv_close() is not None
                assert ws.wait_closed(PATIENCE)
            stuck.release.set()
            assert blocked.recv(PATIENCE) == "blocked"


def test_connection_ends_though_its_log_is_stuck(
    make_logger: Callable[..., logging.Logger],
) -> None:
    stuck = Stuck("< TEXT")
    options = {"logger": make_logger(logging.DEBUG, stuck), "close_timeout": 0.1}
    with raw_client(**options) as (peer, ws):
        peer.send_frame(Opcode.TEXT, b"hello")
        assert stuck.reached.wait(PATIENCE)
        assert ws.recv(PATIENCE) == "hello"
        ws.close()
        assert ws.state is State.CLOSED
        stuck.release.set()


def test_errors_of_logging_reach_the_hub(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.Logger("test")
    logger.addFilter(lambda record: 1 / 0)  # type: ignore[arg-type,return-value]
    log_safely(logger, Line(logging.ERROR, "hello", (), None))
    assert "ZeroDivisionError" in capsys.readouterr().err


# What is not done.


def test_lost_connections_are_no_news_for_a_client_above_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "geventws.client")
    with raw_server(logger=logging.getLogger("geventws.client")) as (ws, peer):
        peer.reset()
        with pytest.raises(ConnectionClosedError):
            ws.recv()
    assert [record for record in caplog.records if record.name == "geventws.client"] == []


def run(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a program in another interpreter, where logging is not configured."""
    env = {name: value for name, value in os.environ.items() if name != "GEVENTWS_MAX_LOG_SIZE"}
    root = os.path.dirname(os.path.dirname(geventws.__file__))
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**env, "PYTHONPATH": root, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result


def test_nothing_is_configured() -> None:
    result = run("""
import logging
import geventws, geventws.testing

names = ["geventws", "geventws.client", "geventws.server"]
loggers = [logging.getLogger(name) for name in names]
assert logging.getLogger("geventws.server").parent is loggers[0]
with geventws.serve(print, "127.0.0.1", 0) as server:
    with geventws.connect("ws://127.0.0.1:%d" % server.address[1]):
        pass
for logger in [logging.getLogger(), *loggers]:
    assert logger.handlers == [] and logger.filters == [] and logger.propagate, logger
    assert logger.level == (logging.WARNING if logger.name == "root" else logging.NOTSET)
assert not any(name.startswith("geventws") and name not in names
               for name in logging.Logger.manager.loggerDict)
""")
    assert result.stderr == ""


CRASH = """
import logging
import geventws

{recipe}

def crash(ws):
    raise RuntimeError("oops")

with geventws.serve(crash, "127.0.0.1", 0) as server:
    with geventws.connect("ws://127.0.0.1:%d" % server.address[1]) as ws:
        assert ws.wait_closed(10)
"""


def test_unconfigured_logging_shows_crashes() -> None:
    result = run(CRASH.format(recipe=""))
    lines = result.stderr.splitlines()
    assert lines[0] == "connection handler failed"
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "RuntimeError: oops"


@pytest.mark.parametrize(
    "recipe",
    [
        'logging.getLogger("geventws").addHandler(logging.NullHandler())',
        'logger = logging.getLogger("geventws"); '
        "logger.addHandler(logging.NullHandler()); logger.propagate = False",
        'logging.getLogger("geventws").setLevel(logging.CRITICAL)',
        'logging.getLogger("geventws.server").addFilter(lambda record: None)',
    ],
    ids=["NullHandler", "propagate", "setLevel", "addFilter"],
)
def test_silence(recipe: str) -> None:
    result = run(CRASH.format(recipe=recipe))
    assert (result.stdout, result.stderr) == ("", "")


def test_one_logger_configures_both_sides() -> None:
    result = run("""
import logging
import geventws

logging.getLogger("geventws").setLevel(logging.DEBUG)
handler = logging.StreamHandler()
handler.setFormatter(logging.Formatter("%(name)s %(message)s"))
logging.getLogger("geventws").addHandler(handler)
with geventws.serve(lambda ws: list(ws), "127.0.0.1", 0) as server:
    with geventws.connect("ws://127.0.0.1:%d" % server.address[1], compression=None) as ws:
        ws.send("x" * 100)
""")
    lines = result.stderr.splitlines()
    shown = "x" * 47 + "..." + "x" * 23
    assert f"geventws.client > TEXT '{shown}' [100 bytes]" in lines
    assert f"geventws.server < TEXT '{shown}' [100 bytes]" in lines


def test_size_of_log_messages() -> None:
    code = """
from geventws import Frame, Opcode
print(Frame(Opcode.TEXT, b"x" * 31))
print(Frame(Opcode.BINARY, bytes(100)))
"""
    short = run(code, GEVENTWS_MAX_LOG_SIZE="30").stdout.splitlines()
    assert short == [
        f"TEXT '{'x' * 17}...{'x' * 8}' [31 bytes]",
        "BINARY 00 00 00 00 00 00 ... 00 00 00 [100 bytes]",
    ]
    default = run(code).stdout.splitlines()
    assert default[0] == f"TEXT '{'x' * 31}' [31 bytes]"
    assert default[1] == f"BINARY {'00 ' * 16}... {'00 ' * 7}00 [100 bytes]"
