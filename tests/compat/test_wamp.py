"""WAMP, version 1, between a server of gevent-websocket's kind and a raw client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from geventws import Opcode
from geventws.compat.geventwebsocket.protocols.wamp import (
    MAX_PREFIXES,
    Channels,
    Prefixes,
    RemoteProcedures,
    WampProtocol,
    export_rpc,
)
from geventws.compat.geventwebsocket.resource import Resource, WebSocketApplication
from geventws.compat.geventwebsocket.server import WebSocketServer
from geventws.testing import RawClient
from tests.net.support import until
from tests.wsgi.support import Served, served

CALC, NEWS = "http://example.com/calc#", "http://example.com/news"


class Calculator:
    """What clients may call, but for `hidden`."""

    @export_rpc
    def double(self, x: int) -> int:
        return 2 * x

    @export_rpc("half")
    def halve(self, x: int) -> float:
        return x / 2

    def hidden(self) -> None:
        raise AssertionError("nobody may call this")


class Application(WebSocketApplication):
    """Calls and channels."""

    protocol_class: Any = WampProtocol

    def on_open(self, *args: Any, **kwargs: Any) -> None:
        self.protocol.register_procedure(f"{CALC}add", lambda x, y: x + y)
        self.protocol.register_object(CALC, Calculator)
        self.protocol.register_pubsub(NEWS)


@pytest.fixture
def server() -> Iterator[Served]:
    with served(Resource([("/", Application)]), server_class=WebSocketServer) as server:
        yield server


def open_session(server: Served) -> tuple[RawClient, str]:
    """Open a session; return the client and the session's id."""
    client = server.open(headers=[("Sec-WebSocket-Protocol", "wamp")])
    assert client.response is not None
    assert client.response.headers["Sec-WebSocket-Protocol"] == "wamp"
    kind, session, version, agent = receive(client)
    assert (kind, version, agent) == (0, 1, "gevent-websocket/0.10.1")
    return client, session


def send(client: RawClient, *message: Any) -> None:
    client.send_frame(Opcode.TEXT, json.dumps(message).encode())


def receive(client: RawClient) -> Any:
    frame = client.recv_frame()
    assert frame is not None
    return json.loads(frame.data)


def ask(client: RawClient, *message: Any) -> Any:
    send(client, *message)
    return receive(client)


def test_calls(server: Served) -> None:
    client, _ = open_session(server)
    assert ask(client, 2, "1", f"{CALC}add", 3, 4) == [3, "1", 7]
    assert ask(client, 2, "2", f"{CALC}double", 3) == [3, "2", 6]
    send(client, 1, "calc", CALC)
    assert ask(client, 2, "3", "calc:half", 3) == [3, "3", 1.5]
    kind, call_id, uri, name, text = ask(client, 2, "4", "calc:hidden")
    assert (kind, call_id, name) == (4, "4", "LookupError") and "calc#hidden" in text
    assert ask(client, 2, "5", "nonsense")[:2] == [4, "5"]
    client.close()


def test_publish(server: Served) -> None:
    (ann, _), (bob, bob_id) = open_session(server), open_session(server)
    for client in (ann, bob):
        send(client, 1, "news", "http://example.com/")
        # Twice is once.
        send(client, 5, "news:news")
        send(client, 5, NEWS)
        assert ask(client, 2, "subscribed", f"{CALC}add", 0, 0)
    send(ann, 7, NEWS, "to all")
    assert receive(ann) == receive(bob) == [8, NEWS, "to all"]
    send(ann, 7, NEWS, "to the others", True)
    assert receive(bob) == [8, NEWS, "to the others"]
    send(ann, 7, NEWS, "to Bob", [], [bob_id])
    assert receive(bob) == [8, NEWS, "to Bob"]
    send(ann, 7, NEWS, "not to Bob", [bob_id])
    assert receive(ann) == [8, NEWS, "not to Bob"]
    send(bob, 6, NEWS)
    assert ask(bob, 2, "unsubscribed", f"{CALC}add", 0, 0) == [3, "unsubscribed", 0]
    ann.close()
    bob.close()
    until(lambda: server.server.channels.channels == {NEWS: []})


@pytest.mark.parametrize(
    "message",
    [
        b"no JSON",
        b"5",
        b"[]",
        b'["2"]',
        b"[99]",
        b"[2, 1]",
        b'[5, "nonsense"]',
        b"[" * 100_000,
    ],
)
def test_what_is_no_wamp(server: Served, message: bytes) -> None:
    client, _ = open_session(server)
    client.send_frame(Opcode.TEXT, message)
    frame = client.recv_frame()
    assert frame is not None and frame.opcode is Opcode.CLOSE
    assert frame.data.startswith(b"\x03\xeanot WAMP: ")
    client.close()


def test_prefixes_are_bounded() -> None:
    prefixes = Prefixes()
    for number in range(MAX_PREFIXES):
        prefixes.add(str(number), "http://example.com/")
    prefixes.add("0", "http://example.org/")
    with pytest.raises(ValueError, match="1000"):
        prefixes.add("more", "http://example.com/")
    assert prefixes.resolve("0:path") == "http://example.org/path"
    assert prefixes.resolve("http://example.com/") == "http://example.com/"


def test_objects_and_classes_are_registered() -> None:
    procedures = RemoteProcedures()
    procedures.register_object("object#", Calculator())
    procedures.register_object("class#", Calculator)
    assert sorted(procedures.calls) == [
        "class#double",
        "class#half",
        "object#double",
        "object#half",
    ]
    assert procedures.call("object#double", [2]) == procedures.call("class#double", [2]) == 4


def test_channels_that_do_not_exist() -> None:
    channels = Channels()
    channels.subscribe("unknown", object())
    channels.unsubscribe("unknown", object())
    channels.publish("unknown", "event")
    assert channels.channels == {}
