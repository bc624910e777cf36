"""The end of a server's connections, and what the log says of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventws import ConnectionClosed, connect
from geventws.core.frames import Opcode
from geventws.testing import RawClient
from tests.net.support import PATIENCE, Hold, echo, serving, squeeze, until, uri_of


class Fragments:
    """A handler that sends a message in two fragments, the second when it is told."""

    def __init__(self, then: str = "") -> None:
        self.go_on = Event()
        # What it sends afterwards, if that is possible.
        self.then = then

    def __iter__(self) -> Iterator[str]:
        yield "begin, "
        self.go_on.wait()
        yield "end"

    def __call__(self, ws: Any) -> None:
        ws.send(self)
        if self.then:
            ws.send(self.then)
        ws.wait_closed()


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines of level INFO between the first and the last of a shutdown."""
    lines = [record.getMessage() for record in caplog.records if record.levelname == "INFO"]
    return [line for line in lines[lines.index("server closing") :] if line[0].isdigit()]


@pytest.fixture(autouse=True)
def info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "geventws.server")


def test_shutdown_lets_a_fragmented_message_end(caplog: pytest.LogCaptureFixture) -> None:
    handler = Fragments()
    with serving(handler) as server, connect(uri_of(server)) as ws, connect(uri_of(server)) as idle:
        heads = [one.recv_streaming() for one in (ws, idle)]
        assert [next(head) for head in heads] == ["begin, "] * 2
        stopping = gevent.spawn(server.shutdown, 1012, "deploying")
        stopping.join(0.05)
        assert not stopping.dead and ws.state.name == "OPEN"
        handler.go_on.set()
        assert ["".join(head) for head in heads] == ["end"] * 2
        for one in (ws, idle):
            assert one.wait_closed(PATIENCE)
            assert (one.close_code, one.close_reason) == (1012, "deploying")
        stopping.get(timeout=PATIENCE)
    assert messages(caplog) == ["2 connections closed with 1012"]


def test_nothing_follows_the_message_that_ends() -> None:
    handler = Fragments(then="too late")
    with serving(handler) as server, connect(uri_of(server)) as ws:
        head = ws.recv_streaming()
        assert next(head) == "begin, "
        stopping = gevent.spawn(server.shutdown)
        stopping.join(0.01)
        handler.go_on.set()
        assert "".join(head) == "end"
        with pytest.raises(ConnectionClosed):
            ws.recv(PATIENCE)
        assert ws.close_code == 1001
        stopping.get(timeout=PATIENCE)


def test_a_message_that_does_not_end_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    with serving(Fragments()) as server, connect(uri_of(server)) as ws:
        head = ws.recv_streaming()
        assert next(head) == "begin, "
        server.shutdown(timeout=0.05)
        assert ws.wait_closed(PATIENCE)
    assert messages(caplog) == ["1 connection closed with 1001, 1 handler killed"]


def test_a_message_that_fails_is_no_reason_to_wait() -> None:
    handler = Fragments()

    def failing(ws: Any) -> None:
        def fragments() -> Iterator[str]:
            yield "begin, "
            handler.go_on.wait()
            raise ValueError("no more")

        ws.send(fragments())

    with serving(failing) as server, connect(uri_of(server)) as ws:
        head = ws.recv_streaming()
        assert next(head) == "begin, "
        stopping = gevent.spawn(server.shutdown)
        stopping.join(0.01)
        handler.go_on.set()
        assert ws.wait_closed(PATIENCE)
        assert ws.close_code == 1011
        stopping.get(timeout=PATIENCE)


def test_the_connection_is_lost_while_the_message_is_waited_for() -> None:
    handler = Fragments()
    with serving(handler) as server:
        with RawClient(server.address) as peer:
            assert peer.recv_frame() is not None
            stopping = gevent.spawn(server.shutdown)
            stopping.join(0.01)
            peer.reset()
        handler.go_on.set()
        stopping.get(timeout=PATIENCE)


def test_what_is_queued_is_flushed() -> None:
    size = 4 * 1024 * 1024
    hold = Hold()
    with serving(hold) as server, RawClient(server.address) as peer:
        ws = hold.get()
        squeeze(ws, peer)
        ws.send(bytes(size))
        assert ws._queued
        stopping = gevent.spawn(server.shutdown)
        stopping.join(0.01)
        hold.done.set()
        frame = peer.recv_frame()
        assert frame is not None and len(frame.data) == size
        frame = peer.recv_frame()
        assert frame is not None and (frame.opcode, frame.data) == (Opcode.CLOSE, b"\x03\xe9")
        peer.send_frame(Opcode.CLOSE, frame.data)
        peer.recv_eof()
        peer.close()
        stopping.get(timeout=PATIENCE)


def test_summary_of_all_kinds(caplog: pytest.LogCaptureFixture) -> None:
    hold = Hold()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"hello"]

    with serving(hold, http=application) as server:
        silent = RawClient(server.address, open=False)
        browser = RawClient(server.address, open=False)
        browser.send_bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert browser.recv_response().body == b"hello"
        with connect(uri_of(server)), silent, browser:
            hold.get()
            until(lambda: None not in server._roster.greenlets.values())
            server.shutdown(timeout=0.1)
    (summary,) = messages(caplog)
    assert sorted(summary.split(", ")) == [
        "1 HTTP connection ended",
        "1 connection closed with 1001",
        "1 handler killed",
        "1 handshake answered with 503",
    ]


def test_nothing_to_say(caplog: pytest.LogCaptureFixture) -> None:
    with serving(echo) as server:
        connect(uri_of(server)).close()
        until(lambda: not server._roster.greenlets)
    assert messages(caplog) == []
