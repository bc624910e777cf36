"""Signals that end a server, in processes of their own."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.monkey import get_original

from geventws import ConnectionClosedOK, connect
from geventws.core.frames import Opcode
from geventws.net.signals import free_signals, on_signals
from geventws.testing import RawClient
from tests.net.support import HOST, PATIENCE, Program, raise_before_waiting, serving

SERVER = """
import signal, sys
import gevent, geventws

# Shells make programs that they start in the background ignore it, and those that these start.
signal.signal(signal.SIGINT, signal.default_int_handler)

def handler(ws):
    print("open", flush=True)
    try:
        for message in ws:
            ws.send(message)
    finally:
        print("closed", flush=True)

server = geventws.serve(handler, "127.0.0.1", 0)
print(server.address[1], flush=True)
"""

FOREVER = """
server.serve_forever()
print("bye", flush=True)
print(*map(signal.getsignal, (signal.SIGTERM, signal.SIGINT)))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_shuts_down(number: int) -> None:
    with Program(SERVER + FOREVER) as program, connect(program.uri) as ws:
        ws.send("hello")
        assert ws.recv(PATIENCE) == "hello"
        program.signal(number)
        with pytest.raises(ConnectionClosedOK):
            ws.recv(PATIENCE)
        assert ws.close_code == 1001
        code, out, err = program.end()
    assert (code, err) == (0, "")
    assert out.startswith("open\nclosed\nbye\n")
    # Handlers are put back; `default_int_handler` shows an address.
    assert out.endswith("\n0 <built-in function default_int_handler>\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_at_once(number: int) -> None:
    # Not even native code, which blocks the hub for ever, holds it up.
    blocking = SERVER.replace(
        "    finally:\n", "    finally:\n        import time; time.sleep(600)\n"
    )
    with Program(blocking + FOREVER) as program:
        ws = connect(program.uri, close_timeout=0)
        ws.send("hello")
        assert ws.recv(PATIENCE) == "hello"
        program.signal(number)
        with contextlib.suppress(ConnectionClosedOK):
            ws.recv(PATIENCE)
        ws.close()
        program.signal(number)
        assert program.end()[0] == -number


# A program keeps the handlers that it has set, however it did.
OWN_HANDLERS = {
    "signal": "signal.signal(signal.SIGTERM, lambda *args: print('mine', flush=True))",
    "gevent": "gevent.signal_handler(signal.SIGTERM, print, 'mine', flush=True)",
    "ignored": "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('mine', flush=True)",
}


@pytest.mark.parametrize("kind", OWN_HANDLERS)
def test_program_keeps_its_own_handlers(kind: str) -> None:
    source = f"{SERVER}{OWN_HANDLERS[kind]}\nserver.serve_forever()"
    with Program(source) as program, connect(program.uri) as ws:
        ws.send("hello")
        assert ws.recv(PATIENCE) == "hello"
        program.signal(signal.SIGTERM)
        assert program.process.stdout is not None
        assert "mine\n" in [program.process.stdout.readline() for _ in range(2)]
        ws.send("still here")
        assert ws.recv(PATIENCE) == "still here"


def test_explicit_signals() -> None:
    source = f"{SERVER}server.serve_forever(signals=[signal.SIGUSR1], stop_timeout=5)"
    with Program(source) as program, connect(program.uri) as ws:
        ws.send("hello")
        assert ws.recv(PATIENCE) == "hello"
        program.signal(signal.SIGUSR1)
        assert ws.wait_closed(PATIENCE)
        assert ws.close_code == 1001
        assert program.end()[0] == 0


def test_no_signals() -> None:
    source = f"{SERVER}server.serve_forever(signals=())"
    with Program(source) as program, connect(program.uri) as ws:
        ws.send("hello")
        assert ws.recv(PATIENCE) == "hello"
        program.signal(signal.SIGTERM)
        assert program.end()[0] == -signal.SIGTERM


def test_signal_while_a_handler_is_busy() -> None:
    # Python runs the signal's handler in the middle of it.
    source = SERVER.replace("ws.send(message)", "ws.send(message); spin(ws)") + FOREVER
    source = (
        """
def spin(ws):
    import time
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        pass
    ws.send("done")
"""
        + source
    )
    with Program(source) as program, connect(program.uri) as ws:
        ws.send("hello")
        assert ws.recv(PATIENCE) == "hello"
        program.signal(signal.SIGTERM)
        assert ws.recv(PATIENCE) == "done"
        assert ws.wait_closed(PATIENCE)
        assert ws.close_code == 1001
        assert program.end()[0] == 0


def test_only_the_main_greenlet_takes_signals() -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.SIGTERM in free_signals()
    assert gevent.spawn(free_signals).get(timeout=PATIENCE) == []
    with serving(lambda ws: None) as server:
        forever = gevent.spawn(server.serve_forever)
        gevent.sleep(0)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        server.shutdown()
        forever.get(timeout=PATIENCE)


def test_cancelled_handlers_do_not_count() -> None:
    handler = gevent.signal_handler(signal.SIGUSR1, print)
    assert free_signals() == []
    handler.cancel()
    assert signal.SIGTERM in free_signals()


def test_signals_outside_of_the_main_thread() -> None:
    def take() -> str:
        try:
            with on_signals([signal.SIGUSR1], print):
                return "taken"
        except ValueError as exc:
            return str(exc)

    assert "main thread" in gevent.get_hub().threadpool.apply(take)


def test_a_signal_that_nobody_can_handle_leaves_the_others_alone() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(OSError):
        with on_signals([signal.SIGUSR1, signal.SIGKILL], print):
            pass
    assert signal.getsignal(signal.SIGUSR1) is before


def test_signal_that_arrives_just_before_the_loop_waits() -> None:
    called = Event()
    with on_signals([signal.SIGUSR1], called.set):
        raise_before_waiting(signal.SIGUSR1)
        assert called.wait(PATIENCE)
    assert signal.set_wakeup_fd(-1) == -1


def test_wakeup_of_the_program_is_left_alone() -> None:
    one, other = get_original("socket", "socketpair")()
    with one, other:
        one.setblocking(False)
        signal.set_wakeup_fd(one.fileno())
        try:
            with on_signals([signal.SIGUSR1], print):
                assert signal.set_wakeup_fd(one.fileno()) == one.fileno()
        finally:
            assert signal.set_wakeup_fd(-1) == one.fileno()


# Everything at once: five hundred connections, fifty of them in the middle of a message.

BUSY = """
import geventws

LARGE = bytes(8 * 1024 * 1024)

def fragments(ws):
    yield "begin, "
    ws.recv()
    yield "end"

def handler(ws):
    kind = ws.recv()
    if kind == "fragments":
        ws.send(fragments(ws))
    elif kind == "large":
        ws.send(LARGE)
    for message in ws:
        ws.send(message)

server = geventws.serve(handler, "127.0.0.1", 0, compression=None)
print(server.address[1], flush=True)
server.serve_forever()
"""

IDLE, FRAGMENTED, LARGE = 450, 40, 10


def test_term_with_five_hundred_connections() -> None:
    with Program(BUSY) as program, contextlib.ExitStack() as stack:
        options: Any = dict(compression=None, ping_interval=None)
        opening = [gevent.spawn(connect, program.uri, **options) for _ in range(IDLE + FRAGMENTED)]
        clients = [stack.enter_context(greenlet.get(timeout=PATIENCE)) for greenlet in opening]
        idle, fragmented = clients[:IDLE], clients[IDLE:]
        large = [stack.enter_context(RawClient((HOST, program.port))) for _ in range(LARGE)]
        for ws in idle:
            ws.send("idle")
            ws.send("hello")
        assert {ws.recv(PATIENCE) for ws in idle} == {"hello"}
        for ws in fragmented:
            ws.send("fragments")
        heads = [ws.recv_streaming() for ws in fragmented]
        assert {next(head) for head in heads} == {"begin, "}
        for peer in large:
            peer.send_frame(Opcode.TEXT, b"large")
            assert peer.sock.recv(1) == b"\x82"

        program.signal(signal.SIGTERM)
        started = time.monotonic()
        for ws in idle:
            assert ws.wait_closed(PATIENCE)
        # Those that are in mid-message are not told before its end.
        assert {ws.state.name for ws in fragmented} == {"OPEN"}
        for ws, head in zip(fragmented, heads, strict=True):
            ws.send("go on")
            assert "".join(head) == "end"
            assert ws.wait_closed(PATIENCE)
        assert {ws.close_code for ws in clients} == {1001}
        for peer in large:
            rest = bytearray()
            while data := peer.sock.recv(1 << 20):
                rest += data
                if rest.endswith(b"\x88\x02\x03\xe9"):
                    peer.send_frame(Opcode.CLOSE, b"\x03\xe9")
            peer.close()
            # The rest of the frame's head, the whole payload, and the close frame.
            assert len(rest) == 9 + 8 * 1024 * 1024 + 4
        assert program.end() == (0, "", "")
        took = time.monotonic() - started
    print(f"{IDLE + FRAGMENTED + LARGE} connections, {took:.3f} s from TERM to exit")
