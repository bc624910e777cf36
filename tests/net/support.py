"""What tests of the first floor share: both ends of a connection, one of them raw or none."""

from __future__ import annotations

import _socket
import contextlib
import ctypes
import functools
import gc
import os
import resource
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import gevent
import gevent.ssl
import gevent.subprocess
import trustme
from gevent.event import Event
from gevent.monkey import get_original
from gevent.queue import Queue

import geventws
from geventws import ClientConnection, ServerConnection, connect, serve
from geventws.core.extensions import Extension
from geventws.core.frames import Frame
from geventws.net.hubs import get_hub_state
from geventws.net.transport import Transport
from geventws.testing import RawClient, RawPeer, RawServer

HOST = "127.0.0.1"

# Seconds until a test gives up waiting for something that must happen: far more than it takes
# on a busy machine.
PATIENCE = 10

# The native one, under monkey patching, too.
start_thread = get_original("_thread", "start_new_thread")


class Program:
    """A server in a process of its own, which tells its port in the first line it prints.

    Args:
        source: the program.
        args: its arguments.
        command: what runs it; None runs this Python.
        options: for `subprocess.Popen`.
    """

    def __init__(
        self, source: str, *args: str, command: Sequence[str] | None = None, **options: Any
    ) -> None:
        environ = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(geventws.__file__))}
        self.process = subprocess.Popen(
            [*(command or [sys.executable]), "-c", source, *args],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline() or 0)
        self.uri = f"ws://{HOST}:{self.port}/"

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        self.process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Wait for the end: the exit code, and what was written to stdout and stderr.

        Where nothing is patched, no greenlet of ours runs meanwhile.
        """
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.process.kill()
        self.process.communicate()


class Hold:
    """A handler that gives its connection to the test and returns when the test ends."""

    def __init__(self) -> None:
        self._accepted: Queue[ServerConnection] = Queue()
        self.done = Event()

    def __call__(self, ws: ServerConnection) -> None:
        self._accepted.put(ws)
        self.done.wait()

    def get(self) -> ServerConnection:
        return self._accepted.get(timeout=PATIENCE)


@functools.cache
def authority() -> tuple[trustme.CA, trustme.LeafCert]:
    ca = trustme.CA()
    return ca, ca.issue_cert("localhost", HOST)


def server_tls() -> gevent.ssl.SSLContext:
    context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_SERVER)
    authority()[1].configure_cert(context)
    return context


def client_tls() -> gevent.ssl.SSLContext:
    context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_CLIENT)
    authority()[0].configure_trust(context)
    return context


def echo(ws: ServerConnection) -> None:
    for message in ws:
        ws.send(message)


def serving(handler: Callable[[Any], object], **options: Any) -> Any:
    """A server on a free port; its clients find it by `uri_of`."""
    options.setdefault("compression", None)
    return serve(handler, HOST, 0, **options)


def uri_of(server: Any, scheme: str = "ws") -> str:
    return f"{scheme}://{HOST}:{server.address[1]}/"


@contextlib.contextmanager
def pair(
    *, server: Any = (), client: Any = (), tls: bool = False
) -> Iterator[tuple[ClientConnection, ServerConnection]]:
    """A client's and a server's end of one connection, in one greenlet's hands.

    Args:
        server: options for `serve`.
        client: options for `connect`.
        tls: whether they speak TLS.
    """
    hold = Hold()
    server, client = dict(server), dict(client)
    if tls:
        server.setdefault("ssl", server_tls())
        client.setdefault("ssl", client_tls())
    with serving(hold, **server) as listening:
        with connect(uri_of(listening, "wss" if tls else "ws"), **client) as ws:
            try:
                yield ws, hold.get()
            finally:
                hold.done.set()


@contextlib.contextmanager
def raw_client(**options: Any) -> Iterator[tuple[RawClient, ServerConnection]]:
    """A raw client, and the server's end of its connection."""
    hold = Hold()
    tls = client_tls() if "ssl" in options else None
    with serving(hold, **options) as server, RawClient(server.address, ssl=tls) as peer:
        try:
            yield peer, hold.get()
        finally:
            hold.done.set()


@contextlib.contextmanager
def raw_server(**options: Any) -> Iterator[tuple[ClientConnection, RawPeer]]:
    """A client's connection, and the raw server's end of it."""
    options.setdefault("compression", None)
    with RawServer() as server:
        opening = gevent.spawn(connect, server.uri, **options)
        peer = server.accept()
        ws = opening.get(timeout=PATIENCE)
        try:
            yield ws, peer
        finally:
            peer.close()
            ws.close()


def in_threads(function: Callable[[int], Any], count: int) -> list[Any]:
    """Run a function in native threads, while this thread's hub goes on; return the results."""
    results: list[Any] = []

    def run(number: int) -> None:
        try:
            results.append(function(number))
        except BaseException as exc:
            results.append(exc)

    for number in range(count):
        start_thread(run, (number,))
    until(lambda: len(results) == count)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def in_thread(function: Callable[[], Any]) -> Any:
    """Run a function in a native thread that has no hub yet, unlike those of gevent's pool."""
    (result,) = in_threads(lambda _: function(), 1)
    return result


@contextlib.contextmanager
def serving_elsewhere(handler: Callable[[Any], object], **options: Any) -> Iterator[Any]:
    """A server in a native thread of its own, with a hub of its own."""
    found: list[Any] = []

    def run() -> None:
        with serving(handler, **options) as server:
            stop = Event()
            found.extend([server, stop])
            stop.wait()
        found.clear()

    start_thread(run, ())
    until(lambda: len(found) == 2)
    server, stop = found
    try:
        yield server
    finally:
        server._state.mailbox.post(stop.set)
        until(lambda: not found)


def run_program(program: str, *arguments: str) -> tuple[str, str, int]:
    """Run a Python program; return what it wrote to stdout and stderr, and its status."""
    run = gevent.subprocess.run(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=PATIENCE * 2,
        check=False,
    )
    return run.stdout.decode(), run.stderr.decode(), run.returncode


def in_child(check: Callable[[], object]) -> None:
    """Fork, and let the child check something."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            check()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@contextlib.contextmanager
def allowing_descriptors(count: int) -> Iterator[None]:
    """Let this process open so many descriptors."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Let this process open no descriptor more."""
    with open(os.devnull) as next_free:
        count = next_free.fileno()
    with allowing_descriptors(count):
        yield


def get(path: str = "/", *headers: str) -> bytes:
    """A request that asks for no WebSocket."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def until(condition: Callable[[], object]) -> None:
    """Let the hub run until something is so that no event tells."""
    with gevent.Timeout(PATIENCE, AssertionError("what must happen did not happen")):
        while not condition():
            gevent.sleep(0.001)


def greenlets() -> set[int]:
    """The greenlets that run, by their identity."""
    gc.collect()
    return {
        id(thing)
        for thing in gc.get_objects()
        if isinstance(thing, gevent.Greenlet) and thing.started and not thing.dead
    }


def check_no_greenlet_is_left(before: set[int]) -> None:
    """Wait until the greenlets that were not there before are gone."""
    # One more may be that of the hub's deadlines, which stays.
    until(lambda: len(greenlets() - before) <= 1)


def turns(count: int = 5) -> None:
    """Let the loop turn a few times: enough for what happens by itself, whatever that is."""
    for _ in range(count):
        gevent.sleep(0)
        gevent.get_hub().loop.update_now()
        gevent.sleep(0.001)


class Polls:
    """Counts how often the loop has looked at its sockets."""

    def __init__(self) -> None:
        self.count = 0
        self._watcher: Any = gevent.get_hub().loop.check()

    def __enter__(self) -> Self:
        self._watcher.start(self._note)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._watcher.stop()
        self._watcher.close()

    def _note(self) -> None:
        self.count += 1

    def wait(self, count: int) -> None:
        """Wait for some more of them."""
        end = self.count + count
        until(lambda: self.count >= end)


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
    return port


@contextlib.contextmanager
def black_hole() -> Iterator[tuple[str, int]]:
    """An address that does not answer: whoever knocks at a full backlog waits."""
    with get_original("socket", "socket")() as listener:
        listener.bind((HOST, 0))
        listener.listen(0)
        knocking = []
        try:
            for _ in range(4):
                sock = get_original("socket", "socket")()
                sock.setblocking(False)
                sock.connect_ex(listener.getsockname())
                knocking.append(sock)
            yield listener.getsockname()
        finally:
            for sock in knocking:
                sock.close()


class SlowDNS:
    """Look-ups of ``slow.invalid`` that take until the block ends, or somebody says so.

    They block the native thread that makes them, as real ones do.
    """

    def __init__(self) -> None:
        self._original = _socket.getaddrinfo
        self.asked = get_original("threading", "Event")()
        self.answer = get_original("threading", "Event")()

    def __call__(self, host: Any, port: Any, *args: Any) -> Any:
        if host != "slow.invalid" or args[-1:] == (socket.AI_NUMERICHOST,):
            return self._original(host, port, *args)
        self.asked.set()
        assert self.answer.wait(PATIENCE)
        return self._original(HOST, port, *args)

    def __enter__(self) -> Self:
        _socket.getaddrinfo = self  # type: ignore[assignment]
        return self

    def __exit__(self, *exc_info: object) -> None:
        _socket.getaddrinfo = self._original
        self.answer.set()


def squeeze(ws: Any, peer: RawPeer) -> None:
    """Let the kernel take no more than half a megabyte while the peer does not read.

    Less than a segment on the loopback interface would make TCP wait before it sends.
    """
    ws._transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)


def spy_writes(ws: Any) -> list[bytes]:
    """Return a list that gets whatever a connection without TLS gives to the kernel."""
    written: list[bytes] = []

    class Spy(Transport):
        def send(self, data: bytes | memoryview) -> int:
            sent = super().send(data)
            if sent:
                written.append(bytes(data[:sent]))
            return sent

    ws._transport = Spy(ws._transport.sock)
    return written


def receive(transport: Transport) -> bytes | None:
    """Receive once: what arrived, ``b""`` at the end of the stream, None if nothing arrived."""
    state = get_hub_state()
    size = transport.receive(state)
    return None if size < 0 else bytes(state.view[:size])


def receive_all(transport: Transport) -> bytes:
    """Receive all that is there."""
    data = []
    while part := receive(transport):
        data.append(part)
    return b"".join(data)


def raise_before_waiting(number: int) -> None:
    """Let a signal arrive when no instruction of Python will run before the loop waits."""
    raise_ = getattr(ctypes.CDLL(None), "raise")
    gevent.get_hub().loop.run_callback(raise_, number)


def occupy(number: int) -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets, not blocking, the first on a descriptor that is free."""
    one, other = get_original("socket", "socketpair")()
    if other.fileno() == number:
        one, other = other, one
    elif one.fileno() != number:
        os.dup2(one.fileno(), number)
        one.close()
        one = get_original("socket", "socket")(fileno=number)
    for sock in (one, other):
        sock.setblocking(False)
    return one, other


class Exploding(Extension):
    """An extension with a bug."""

    name = "exploding"

    def __init__(self, exc: BaseException) -> None:
        self.exc = exc

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        raise self.exc

    def encode(self, frame: Frame, *, compress: bool | None = None) -> Frame:
        return frame


def booby_trap(ws: Any, exc: BaseException) -> None:
    """Let the next frame that a connection receives raise an exception where none may."""
    ws._protocol.assembler.extensions = (Exploding(exc),)
    ws._protocol._fast = False


class Interruption(BaseException):
    """Like `gevent.Timeout`, no ``Exception``."""


def torment(victim: gevent.Greenlet[..., Any], exc: type[BaseException] = Interruption) -> int:
    """Throw an exception into a greenlet at each turn of the loop until it ends.

    Returns:
        How often that was.
    """
    count = 0
    while not victim.dead:
        victim.kill(exc, block=False)
        count += 1
        # Sometimes early and sometimes late in the turn.
        gevent.sleep(0)
        if count % 3 == 0:
            gevent.sleep(0.001)
    return count
