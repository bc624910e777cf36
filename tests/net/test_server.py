"""Servers: their life, and what becomes of handlers."""

from __future__ import annotations

import gc
import logging
import os
import pathlib
import signal
import time
from typing import Any

import gevent
import gevent.monkey
import pytest
from gevent.event import Event
from gevent.socket import wait_read

from geventws import (
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidStatus,
    Opcode,
    State,
    connect,
    serve,
    unix_serve,
)
from geventws.net import capacity
from geventws.net.threads import get_ident
from geventws.testing import RawClient
from tests.net.support import (
    HOST,
    PATIENCE,
    Hold,
    Program,
    allowing_descriptors,
    echo,
    in_thread,
    in_threads,
    no_descriptors,
    raw_client,
    run_program,
    server_tls,
    serving,
    until,
    uri_of,
)


def records_of(caplog: pytest.LogCaptureFixture, level: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelname == level]


# Life.


def test_accepts_only_when_started() -> None:
    server = serve(echo, HOST, 0)
    assert not server.started
    opening = gevent.spawn(connect, uri_of(server))
    opening.join(0.05)
    assert not opening.dead
    server.start()
    assert server.started
    server.start()
    opening.get(timeout=PATIENCE).close()
    server.stop()
    assert not server.started
    with pytest.raises(RuntimeError, match="make another with serve"):
        server.start()


def test_serve_forever_until_shutdown() -> None:
    server = serve(echo, HOST, 0)
    serving = gevent.spawn(server.serve_forever)
    with connect(uri_of(server)) as ws:
        ws.send("hello")
        assert ws.recv() == "hello"
        server.shutdown()
        assert serving.join(PATIENCE) is None and serving.successful()
        with pytest.raises(ConnectionClosedOK):
            ws.recv()
        assert ws.close_code == 1001


def test_killing_serve_forever_shuts_down() -> None:
    server = serve(echo, HOST, 0)
    serving = gevent.spawn(server.serve_forever)
    with connect(uri_of(server)) as ws:
        serving.kill()
        with pytest.raises(ConnectionClosedOK):
            ws.recv()
    assert server.socket.fileno() == -1


def test_accepts_again_on_the_same_port() -> None:
    with serving(echo) as server:
        port = server.address[1]
        connect(uri_of(server)).close()
    with serve(echo, HOST, port) as server:
        connect(uri_of(server)).close()


def test_shutdown_of_one_that_never_started() -> None:
    server = serve(echo, HOST, 0)
    server.shutdown()
    assert server.socket.fileno() == -1
    with pytest.raises(RuntimeError, match="make another with serve"):
        server.serve_forever()


def test_signals_that_were_asked_for() -> None:
    server = serve(echo, HOST, 0)
    forever = gevent.spawn(server.serve_forever, signals=[signal.SIGUSR1])
    until(lambda: server.started)
    os.kill(os.getpid(), signal.SIGUSR1)
    forever.get(timeout=PATIENCE)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


@pytest.mark.parametrize("host, shown", [(HOST, HOST), ("::1", "[::1]")])
def test_log_tells_where_it_listens(
    host: str, shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "geventws")
    with serve(echo, host, 0) as server:
        assert f"server listening on {shown}:{server.address[1]}" in caplog.messages


def test_log_tells_the_path_where_it_listens(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "geventws")
    with unix_serve(echo, tmp_path / "socket"):
        assert f"server listening on {tmp_path / 'socket'}" in caplog.messages


def test_descriptor() -> None:
    with serving(echo) as server:
        assert server.fileno() == server.socket.fileno() != -1


def test_connections() -> None:
    hold = Hold()
    with serving(hold) as server:
        assert server.connections == set()
        with connect(uri_of(server)) as one, RawClient(server.address, open=False):
            ws = hold.get()
            with RawClient(server.address):
                other = hold.get()
                connections = server.connections
                assert connections == {ws, other}
                # It may be changed without consequences.
                connections.clear()
                assert server.connections == {ws, other}
            assert other.wait_closed(PATIENCE)
            assert server.connections == {ws}
            one.close()
            assert ws.wait_closed(PATIENCE)
            assert server.connections == set()
        hold.done.set()
    assert server.connections == set()


# Connections that are not served.


def test_one_connection_too_many(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(capacity, "MAX_REFUSING", 1)
    with serving(echo, max_connections=1) as server, connect(uri_of(server)):
        with RawClient(server.address, open=False) as refused:
            until(lambda: len(server._roster.greenlets) == 2)
            # Further ones do not even get an answer.
            with RawClient(server.address, open=False) as dropped:
                dropped.recv_eof()
            refused.send_bytes(RawClient.request())
            response = refused.recv_response()
            assert (response.status_code, response.body) == (503, b"Too many connections.\n")
    (warning,) = records_of(caplog, "WARNING")
    assert warning.getMessage() == "1 connections are all that is allowed"


def test_no_descriptor_for_a_connection(caplog: pytest.LogCaptureFixture) -> None:
    native_socket = gevent.monkey.get_original("socket", "socket")
    with serving(lambda ws: None) as server, native_socket() as sock:
        # Natively, so that the server does not accept it in the meantime.
        sock.connect(server.address)
        with no_descriptors():
            until(lambda: records_of(caplog, "ERROR"))
        # It is served after all.
        sock.send(RawClient.request())
        sock.setblocking(False)
        with gevent.Timeout(PATIENCE):
            wait_read(sock.fileno())
        assert sock.recv(12) == b"HTTP/1.1 101"
    (error,) = records_of(caplog, "ERROR")
    assert error.getMessage() == "cannot accept connections for now"


def test_no_connection_can_be_made(caplog: pytest.LogCaptureFixture) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise RuntimeError("no connection")

    with serving(echo, create_connection=fail) as server:
        with RawClient(server.address, open=False) as peer:
            peer.recv_eof()
        assert server._roster.greenlets == {}
    (error,) = records_of(caplog, "ERROR")
    assert error.getMessage() == "unexpected internal error"
    assert error.exc_info is not None and str(error.exc_info[1]) == "no connection"


# Shutdown.


@pytest.mark.parametrize("code, reason", [(1001, ""), (1012, "deploying")])
def test_shutdown_closes_connections(code: int, reason: str) -> None:
    with serving(echo) as server:
        clients = [connect(uri_of(server)) for _ in range(3)]
        # Each answers while the server waits.
        server.shutdown(code, reason)
        for ws in clients:
            with pytest.raises(ConnectionClosed):
                ws.recv(PATIENCE)
            assert (ws.close_code, ws.close_reason) == (code, reason)
        assert server.connections == set()


def test_shutdown_is_idempotent_and_logs_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "geventws.server")
    with serving(echo) as server:
        greenlets = [gevent.spawn(server.shutdown) for _ in range(3)]
        gevent.joinall(greenlets, timeout=PATIENCE, raise_error=True)
        server.shutdown()
        server.stop()
    messages = [record.getMessage() for record in caplog.records]
    assert messages[1:] == ["server closing", "server closed"]


def test_shutdown_answers_handshakes_under_way() -> None:
    blocked, go_on = Event(), Event()

    def process_request(ws: Any, request: Any) -> None:
        blocked.set()
        go_on.wait()

    with serving(echo, process_request=process_request) as server:
        opening = gevent.spawn(connect, uri_of(server))
        with RawClient(server.address, open=False) as silent:
            assert blocked.wait(PATIENCE)
            stopping = gevent.spawn(server.shutdown)
            response = silent.recv_response()
            assert response.status_code == 503
            assert response.body == b"Server is shutting down.\n"
            assert silent.recv_eof()
            go_on.set()
            with pytest.raises(InvalidStatus) as raised:
                opening.get(timeout=PATIENCE)
            assert raised.value.response.status_code == 503
            stopping.join(PATIENCE)
            assert stopping.successful()


def test_shutdown_answers_what_was_accepted_but_not_begun() -> None:
    with serving(echo, open_timeout=60) as server:
        with RawClient(server.address, open=False) as peer:
            # The hub accepts, and the connection's greenlet has not run when we go on.
            started = time.monotonic()
            gevent.spawn(until, lambda: server._roster.greenlets)
            while not server._roster.greenlets:
                gevent.sleep(0)
            server.shutdown()
            assert peer.recv_response().status_code == 503
            assert time.monotonic() - started < 5


def test_shutdown_in_a_tls_handshake() -> None:
    with serving(echo, ssl=server_tls()) as server:
        with RawClient(server.address, open=False) as peer:
            until(lambda: list(server._roster.greenlets.values()) not in ([], [None]))
            server.shutdown()
            assert peer.recv_eof()


def test_shutdown_waits_for_handlers() -> None:
    events = []

    def handler(ws: Any) -> None:
        assert list(ws) == []
        events.append("goodbye")
        gevent.sleep(0.05)
        events.append("cleaned up")

    with serving(handler) as server, connect(uri_of(server)):
        until(lambda: server.connections)
    assert events == ["goodbye", "cleaned up"]


def test_shutdown_without_closing_connections() -> None:
    with serving(echo) as server:
        with connect(uri_of(server)) as ws:
            until(lambda: server.connections)
            stopping = gevent.spawn(server.shutdown, close_connections=False)
            stopping.join(0.05)
            assert not stopping.dead
            ws.send("hello")
            assert ws.recv() == "hello"
        stopping.join(PATIENCE)
        assert stopping.successful()


def test_timeout_of_shutdown_kills_handlers(caplog: pytest.LogCaptureFixture) -> None:
    ended = []

    def handler(ws: Any) -> None:
        try:
            Event().wait()
        except BaseException as exc:
            ended.append(type(exc))
            raise

    with serving(handler) as server, RawClient(server.address) as peer:
        until(lambda: server.connections)
        server.shutdown(timeout=0.1)
        assert ended == [gevent.GreenletExit]
        assert server._roster.greenlets == {}
        peer.recv_eof()
    assert records_of(caplog, "ERROR") == []


def test_timeout_of_shutdown_leaves_a_handler_that_refuses_to_die() -> None:
    over = Event()

    def handler(ws: Any) -> None:
        while not over.is_set():
            try:
                over.wait()
            except gevent.GreenletExit:
                pass

    with serving(handler) as server, RawClient(server.address) as peer:
        until(lambda: server.connections)
        with gevent.Timeout(PATIENCE):
            server.shutdown(timeout=0)
        peer.recv_eof()
        over.set()


def test_shutdown_from_a_handler() -> None:
    def handler(ws: Any) -> None:
        if ws.recv() == "shut down":
            ws.server.shutdown()

    with serving(handler) as server:
        with connect(uri_of(server)) as one, connect(uri_of(server)) as two:
            one.send("shut down")
            for ws in (one, two):
                assert ws.wait_closed(PATIENCE)
                assert ws.close_code == 1001
        until(lambda: not server._roster.greenlets)


def test_shutdown_from_two_handlers() -> None:
    def handler(ws: Any) -> None:
        ws.recv()
        ws.server.shutdown(timeout=None)

    with serving(handler) as server:
        with connect(uri_of(server)) as one, connect(uri_of(server)) as two:
            until(lambda: len(server.connections) == 2)
            one.send("shut down")
            two.send("shut down")
            with gevent.Timeout(PATIENCE):
                server.shutdown(timeout=None)
            assert one.wait_closed(PATIENCE) and two.wait_closed(PATIENCE)


def test_shutdown_from_the_hub() -> None:
    with serving(echo) as server, connect(uri_of(server)) as ws:
        gevent.get_hub().loop.run_callback(server.shutdown)
        with pytest.raises(ConnectionClosedOK):
            ws.recv(PATIENCE)


def test_shutdown_with_a_peer_that_ignores_it() -> None:
    with serving(echo, close_timeout=0.1) as server, RawClient(server.address) as peer:
        until(lambda: server.connections)
        with gevent.Timeout(PATIENCE):
            server.shutdown()
        frame = peer.recv_close()
        assert frame is not None and frame.data == b"\x03\xe9"


def test_shutdown_with_refused_clients_that_stay() -> None:
    with serving(echo, origins=["https://good"]) as server:
        with RawClient(server.address) as peer, gevent.Timeout(5):
            assert peer.response.status_code == 403
            server.shutdown()
            assert peer.recv_eof()


PROGRAM = """
import signal, sys
import gevent, geventws

def echo(ws):
    for message in ws:
        ws.send(message)
    print("handler ended", flush=True)

server = geventws.serve(echo, "127.0.0.1", 0)
if sys.argv[1] == "gevent":
    gevent.signal_handler(signal.SIGTERM, server.shutdown)
else:
    signal.signal(signal.SIGTERM, lambda number, frame: server.shutdown())
print(server.address[1], flush=True)
server.serve_forever()
print("bye", flush=True)
"""


@pytest.mark.parametrize("kind", ["gevent", "stdlib"])
def test_shutdown_from_a_signal_handler(kind: str) -> None:
    with Program(PROGRAM, kind) as program:
        # Connections are accepted in order: once the second is served, the first is accepted.
        with RawClient((HOST, program.port), open=False) as late, connect(program.uri) as ws:
            late.send_bytes(b"GET / HTTP/1.1\r\n")
            ws.send("hello")
            assert ws.recv() == "hello"
            program.signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosedOK):
                ws.recv(PATIENCE)
            assert ws.close_code == 1001
            assert late.recv_response().status_code == 503
        assert program.end() == (0, "handler ended\nbye\n", "")


# Handlers.


def test_handler_returns() -> None:
    with serving(lambda ws: None) as server, connect(uri_of(server)) as ws:
        with pytest.raises(ConnectionClosedOK):
            ws.recv(PATIENCE)
        assert ws.close_code == 1000


CRASHES = [RuntimeError("oops"), gevent.Timeout(7), SystemExit(3), AssertionError("no")]


@pytest.mark.parametrize("exc", CRASHES, ids=repr)
def test_handler_crashes(exc: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def handler(ws: Any) -> None:
        raise exc

    with serving(handler) as server:
        with connect(uri_of(server)) as ws:
            with pytest.raises(ConnectionClosedError) as raised:
                ws.recv(PATIENCE)
            assert ws.close_code == 1011
            assert str(raised.value) == (
                "received 1011 (internal error); then sent 1011 (internal error)"
            )
        # The server lives.
        connect(uri_of(server)).close()
    errors = records_of(caplog, "ERROR")
    assert [error.getMessage() for error in errors] == ["connection handler failed"] * 2
    assert errors[0].exc_info is not None and errors[0].exc_info[1] is exc


def test_handler_with_a_timeout_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    def handler(ws: Any) -> None:
        with gevent.Timeout(0.01):
            ws.recv()

    with serving(handler) as server, connect(uri_of(server)) as ws:
        assert ws.wait_closed(PATIENCE)
        assert ws.close_code == 1011
    [error] = records_of(caplog, "ERROR")
    assert error.exc_info is not None and error.exc_info[0] is gevent.Timeout


def test_crash_is_logged_before_the_closing_handshake(caplog: pytest.LogCaptureFixture) -> None:
    def handler(ws: Any) -> None:
        raise RuntimeError("oops")

    with serving(handler, close_timeout=60) as server, RawClient(server.address) as peer:
        until(lambda: records_of(caplog, "ERROR"))
        frame = peer.recv_close()
        assert frame is not None
        peer.send_frame(Opcode.CLOSE, frame.data)


def test_crash_by_another_connection_is_logged_before_the_closing_handshake(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(lambda ws: None) as backend:

        def proxy(ws: Any) -> None:
            with connect(uri_of(backend)) as upstream:
                ws.send(upstream.recv())

        with serving(proxy, close_timeout=60) as server, RawClient(server.address) as peer:
            until(lambda: records_of(caplog, "ERROR"))
            frame = peer.recv_close()
            assert frame is not None and frame.data == b"\x03\xf3"
            peer.send_frame(Opcode.CLOSE, frame.data)


def test_handler_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "geventws.server")
    greenlets = []

    def handler(ws: Any) -> None:
        greenlets.append((gevent.getcurrent(), ws))
        ws.recv()

    with serving(handler, close_timeout=60) as server, RawClient(server.address) as peer:
        until(lambda: greenlets)
        greenlet, ws = greenlets[0]
        greenlet.kill()
        # It ended at once, though the peer has not answered.
        assert greenlet.dead and ws.state is State.CLOSING
        frame = peer.recv_close()
        assert frame is not None and frame.data == b"\x03\xe9"
        peer.send_frame(Opcode.CLOSE, frame.data)
        assert peer.recv_eof()
        peer.close()
        assert ws.wait_closed(PATIENCE)
        assert ws.close_code == 1001
    assert records_of(caplog, "ERROR") == []
    assert [record.getMessage() for record in caplog.records][1:3] == [
        "connection open",
        "connection closed",
    ]


def test_handler_is_killed_and_the_peer_never_answers() -> None:
    greenlets = []

    def handler(ws: Any) -> None:
        greenlets.append((gevent.getcurrent(), ws))
        ws.recv()

    with serving(handler, close_timeout=0.1) as server, RawClient(server.address):
        until(lambda: greenlets)
        greenlet, ws = greenlets[0]
        greenlet.kill()
        assert ws.wait_closed(PATIENCE)


def test_shutdown_waits_for_connections_of_killed_handlers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "geventws.server")

    def handler(ws: Any) -> None:
        raise gevent.GreenletExit

    with serving(handler) as server:
        with RawClient(server.address) as peer:
            frame = peer.recv_close()
            assert frame is not None
            until(lambda: not server._roster.greenlets)
            stopping = gevent.spawn(server.shutdown)
            stopping.join(0.05)
            assert not stopping.dead
            peer.send_frame(Opcode.CLOSE, frame.data)
            peer.recv_eof()
        stopping.join(PATIENCE)
    messages = [record.getMessage() for record in caplog.records]
    assert messages[-2:] == ["connection closed", "server closed"]


def test_greenlet_is_killed_before_it_begins() -> None:
    with serving(echo) as server, RawClient(server.address, open=False) as peer:
        while not server._roster.greenlets:
            gevent.sleep(0)
        gevent.killall(list(server._roster.greenlets))
        peer.recv_eof()


def test_keyboard_interrupt_passes_on() -> None:
    def handler(ws: Any) -> None:
        ws.recv()
        raise KeyboardInterrupt

    with serving(handler) as server, RawClient(server.address) as peer:
        with pytest.raises(KeyboardInterrupt):
            peer.send_frame(Opcode.TEXT, b"interrupt")
            with gevent.Timeout(PATIENCE):
                Event().wait()
        frame = peer.recv_close()
        assert frame is not None and frame.data == b"\x03\xf3"
        peer.send_frame(Opcode.CLOSE, frame.data)


def test_handler_blocks_the_hub_natively() -> None:
    # For longer than the keepalive allows: no connection is lost by it.
    native_sleep = gevent.monkey.get_original("time", "sleep")

    def handler(ws: Any) -> None:
        for message in ws:
            if message == "block":
                native_sleep(1.5)
            ws.send(message)

    with serving(handler, ping_interval=0.3, ping_timeout=0.3) as server:
        with connect(uri_of(server)) as one, connect(uri_of(server), ping_interval=0.3) as two:
            one.send("block")
            assert one.recv(PATIENCE) == "block"
            gevent.sleep(0.5)
            for ws in (one, two):
                ws.send("still here")
                assert ws.recv(PATIENCE) == "still here"


# Many connections.


def greenlet_count() -> int:
    return sum(
        isinstance(thing, gevent.Greenlet) and not thing.dead and thing.started
        for thing in gc.get_objects()
    )


@pytest.mark.deadline(120)
def test_two_thousand_idle_connections() -> None:
    logger = logging.Logger("quiet", logging.WARNING)
    asleep = Event()
    clients: list[RawClient] = []
    with (
        allowing_descriptors(4200),
        serving(lambda ws: asleep.wait(), logger=logger, ping_interval=None) as server,
    ):
        try:
            gc.collect()
            before = greenlet_count()
            clients.extend(RawClient(server.address) for _ in range(2000))
            assert len(server.connections) == 2000
            assert greenlet_count() - before <= 2001
            for number, peer in enumerate(clients):
                peer.send_frame(Opcode.PING, b"%d" % number)
            for number, peer in enumerate(clients):
                pong = peer.recv_frame()
                assert pong is not None
                assert (pong.opcode, pong.data) == (Opcode.PONG, b"%d" % number)
            assert greenlet_count() - before <= 2001
        finally:
            for peer in clients:
                peer.close()
            asleep.set()


def test_finished_connections_leave_nothing_behind() -> None:
    with raw_client() as (peer, ws):
        server = ws.server
        assert server is not None
        peer.send_frame(Opcode.CLOSE)
        assert peer.recv_eof()
        peer.close()
        assert ws.wait_closed(PATIENCE)
        del ws
    assert server._roster.greenlets == {}
    assert len(server._roster.survivors) == 0


# Threads and forks.


def test_shutdown_from_another_thread() -> None:
    """As programs written for threads do it."""
    servers: list[Any] = []

    def serve_there(_: int) -> None:
        servers.append(serving(echo))
        servers[0].serve_forever()

    running = gevent.spawn(in_threads, serve_there, 1)
    until(lambda: servers and servers[0].started)
    with connect(uri_of(servers[0])) as ws:
        in_thread(lambda: servers[0].shutdown(1012, "later"))
        with pytest.raises(ConnectionClosedError, match="later"):
            ws.recv()
    running.get(timeout=PATIENCE)
    assert servers[0].fileno() == -1
    # Once more, though its hub is gone.
    servers[0].shutdown()


def test_shutdown_after_its_thread_has_ended() -> None:
    def leave(_: int) -> Any:
        server = serving(echo)
        server.start()
        gevent.sleep(0)
        return server

    (server,) = in_threads(leave, 1)
    until(lambda: server._state.hub.dead)
    assert server.fileno() != -1
    server.shutdown()
    assert server.fileno() == -1


def test_start_in_another_thread_is_refused() -> None:
    with serving(echo) as server:

        def trespass(_: int) -> str:
            with pytest.raises(ConcurrencyError) as info:
                server.serve_forever()
            return str(info.value)

        (message,) = in_threads(trespass, 1)
        assert message.startswith(f"this server belongs to thread {get_ident()} and was used in")
        assert message.endswith("; there, only shutdown() may be called")


FORK = """
import os, sys
import gevent, geventws

def echo(ws):
    for message in ws:
        ws.send(message)

path = sys.argv[1]
listening = geventws.unix_serve(echo, path)
with geventws.unix_serve(echo, path + "2") as server:
    ws = geventws.unix_connect(path + "2")
    ws.send("x")
    assert ws.recv() == "x"
    pid = os.fork()
    if not pid:
        # The handler that serves in the parent is none of ours; both listeners are.
        assert not server.connections
        with listening:
            with geventws.unix_connect(path) as own:
                own.send("child")
                assert own.recv() == "child"
        with gevent.Timeout(5):
            server.shutdown(timeout=None)
        os._exit(7)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 7, status
    ws.send("y")
    assert ws.recv() == "y"
    # The child's shutdown has left the parent's sockets where they were.
    geventws.unix_connect(path + "2").close()
    with listening:
        geventws.unix_connect(path).close()
    ws.close()
print("fine", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_listeners_are_usable_after_a_fork(tmp_path: pathlib.Path) -> None:
    assert run_program(FORK, str(tmp_path / "s")) == ("fine\n", "", 0)
