"""Opening: TLS, deadlines, timeouts, kills."""

from __future__ import annotations

import gc
import socket
import ssl
import time
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent.event import Event

from geventws import (
    connect,
)
from geventws.testing import RawPeer
from tests.net.support import (
    HOST,
    PATIENCE,
    authority,
    client_tls,
    echo,
    server_tls,
    serving,
    until,
    uri_of,
)


def test_untrusted_certificate() -> None:
    with serving(echo, ssl=server_tls()) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(uri_of(server, "wss"))


def test_certificate_for_another_name() -> None:
    with serving(echo, ssl=server_tls()) as server:
        with pytest.raises(ssl.SSLCertVerificationError, match="example.com"):
            connect(uri_of(server, "wss"), ssl=client_tls(), server_hostname="example.com")
        uri = f"wss://example.com:{server.address[1]}/"
        with connect(
            uri, ssl=client_tls(), address=server.address, server_hostname="localhost"
        ) as ws:
            assert ws.request.headers["Host"] == uri[6:-1]


def test_no_tls_on_the_other_side() -> None:
    with serving(echo) as server:
        with pytest.raises(ssl.SSLError):
            connect(uri_of(server, "wss"), ssl=client_tls())


@pytest.mark.parametrize("module", [ssl, gevent.ssl], ids=["stdlib", "gevent"])
def test_tls(module: Any) -> None:
    context = module.SSLContext(module.PROTOCOL_TLS_CLIENT)
    authority()[0].configure_trust(context)
    with serving(echo, ssl=server_tls()) as server:
        with connect(uri_of(server, "wss"), ssl=context) as ws:
            ws.send("hello")
            assert ws.recv() == "hello"


# Deadlines, timeouts, kills. Each finds the client in another stage.


class Stages:
    """A server that goes only as far as a stage."""

    def __init__(self) -> None:
        self.reached = Event()

    def tcp(self, listener: Any) -> None:
        self.reached.set()

    def answer_drop_by_drop(self, listener: Any) -> None:
        sock, _ = listener.accept()
        with RawPeer(sock, side=None) as peer:  # type: ignore[arg-type]
            self.reached.set()
            try:
                for byte in b"HTTP/1.1 101 Switching Protocols\r\n" + b"A: a\r\n" * 100:
                    peer.send_bytes(bytes([byte]))
                    gevent.sleep(0.02)
            except OSError:
                pass

    def half_a_tls_record(self, listener: Any) -> None:
        sock, _ = listener.accept()
        with RawPeer(sock, side=None) as peer:  # type: ignore[arg-type]
            peer.send_bytes(b"\x16\x03\x03\x00\x7a\x02")
            self.reached.set()
            peer.recv_eof()


STAGES = [
    ("tcp", "ws", "timed out while waiting for handshake response"),
    ("answer_drop_by_drop", "ws", "timed out while waiting for handshake response"),
    ("tcp", "wss", "timed out while waiting for TLS handshake"),
    ("half_a_tls_record", "wss", "timed out while waiting for TLS handshake"),
]
stages = pytest.mark.parametrize("stage, scheme, text", STAGES)


def stalled(stage: str, scheme: str) -> tuple[Any, str, Stages, Any]:
    """A server that stalls in a stage, and its URI."""
    listener = gevent.socket.socket()
    listener.bind((HOST, 0))
    listener.listen()
    server = Stages()
    greenlet = gevent.spawn(getattr(server, stage), listener)
    return listener, f"{scheme}://{HOST}:{listener.getsockname()[1]}/", server, greenlet


def greenlets() -> set[int]:
    gc.collect()
    return {
        id(thing)
        for thing in gc.get_objects()
        if isinstance(thing, gevent.Greenlet) and thing.started and not thing.dead
    }


def check_no_greenlet_is_left(before: set[int]) -> None:
    # One more may be that of the hub's deadlines, which stays.
    until(lambda: len(greenlets() - before) <= 1)


@stages
def test_open_timeout(stage: str, scheme: str, text: str) -> None:
    listener, uri, _, greenlet = stalled(stage, scheme)
    before = greenlets()
    started = time.monotonic()
    tls = client_tls() if scheme == "wss" else None
    with pytest.raises(TimeoutError) as raised:
        connect(uri, ssl=tls, open_timeout=0.2)
    assert str(raised.value) == text
    assert 0.19 < time.monotonic() - started < PATIENCE
    greenlet.join(PATIENCE)
    assert greenlet.dead
    listener.close()
    check_no_greenlet_is_left(before)


def test_open_timeout_of_tcp() -> None:
    # Whoever knocks at a full backlog gets no answer.
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(0)
        knocking = []
        try:
            for _ in range(4):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(listener.getsockname())
                knocking.append(sock)
            with pytest.raises(TimeoutError, match="timed out while connecting"):
                connect(f"ws://{HOST}:{listener.getsockname()[1]}/", open_timeout=0.2)
        finally:
            for sock in knocking:
                sock.close()


@stages
def test_timeout_of_the_caller(stage: str, scheme: str, text: str) -> None:
    listener, uri, _, greenlet = stalled(stage, scheme)
    before = greenlets()
    tls = client_tls() if scheme == "wss" else None
    with pytest.raises(gevent.Timeout) as raised:
        with gevent.Timeout(0.1) as timeout:
            connect(uri, ssl=tls)
    assert raised.value is timeout
    greenlet.join(PATIENCE)
    listener.close()
    check_no_greenlet_is_left(before)


@stages
def test_kill_while_opening(stage: str, scheme: str, text: str) -> None:
    listener, uri, server, greenlet = stalled(stage, scheme)
    before = greenlets()
    tls = client_tls() if scheme == "wss" else None
    opening = gevent.spawn(connect, uri, ssl=tls)
    assert server.reached.wait(PATIENCE)
    gevent.sleep(0.02)
    opening.kill()
    assert isinstance(opening.value, gevent.GreenletExit)
    greenlet.join(PATIENCE)
    listener.close()
    check_no_greenlet_is_left(before)


def test_no_deadline_after_opening() -> None:
    with serving(echo) as server:
        with connect(uri_of(server), open_timeout=0.1) as ws:
            gevent.sleep(0.2)
            ws.send("hello")
            assert ws.recv() == "hello"


def test_no_open_timeout() -> None:
    with serving(echo) as server:
        connect(uri_of(server), open_timeout=None).close()
