"""Programs for gevent-websocket, on geventws and unchanged: real servers, a foreign client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.compat.support import ORIGINAL, SERVERS, client, receive, running
from tests.wsgi.support import Process

only_ours = pytest.mark.skipif(bool(ORIGINAL), reason="gevent-websocket does not do this")


def started(program: str) -> Any:
    """Make a fixture that runs a program, by its own server and under gunicorn."""

    @pytest.fixture(scope="module", params=SERVERS)
    def process(request: pytest.FixtureRequest) -> Iterator[Process]:
        with running(program, request.param) as process:
            yield process

    return process


echo = started("echo")
chat = started("chat")
broadcast = started("broadcast")
bottle_style = started("bottle_style")
flask_sockets_style = started("flask_sockets_style")


def close_code(ws: ClientConnection) -> int:
    """Wait for the close frame; return its code."""
    with pytest.raises(ConnectionClosed) as raised:
        receive(ws)
    assert raised.value.rcvd is not None
    return raised.value.rcvd.code


def test_echo(echo: Process) -> None:
    with client(echo, "/") as ws:
        for message in ("text", "", b"binary", "é" * 1000, b"x" * 100_000):
            ws.send(message)
            assert receive(ws) == message
    echo.wait_for("receive: Connection is already closed\nsend: Socket is dead\n")


def test_http_beside_it(echo: Process) -> None:
    assert echo.get("/") == (200, b"no websocket here")


def test_what_is_known_of_a_websocket(echo: Process) -> None:
    with client(echo, "/about", origin="http://me", subprotocols=["a", "b"]) as ws:
        assert ws.subprotocol is None
        assert receive(ws) == "/about http://me a, b 13"
        assert receive(ws) == "13"
        ws.send(b"bytes")
        assert receive(ws) == "bytearray"
        assert receive(ws) == "True"


def test_application_closes(echo: Process) -> None:
    with client(echo, "/close") as ws:
        with pytest.raises(ConnectionClosed) as raised:
            receive(ws)
        if not ORIGINAL:
            assert (raised.value.rcvd.code, raised.value.rcvd.reason) == (4321, "as you like it")
    echo.wait_for("closed True None None\n")


@only_ours
def test_application_crashes(echo: Process) -> None:
    with client(echo, "/crash") as ws:
        ws.send("now")
        assert close_code(ws) == 1011
    echo.wait_for("ValueError: crash on purpose")


@only_ours
def test_close_code_is_answered(echo: Process) -> None:
    with client(echo, "/") as ws:
        ws.close(3000, "bye")
    with pytest.raises(ConnectionClosed) as raised:
        receive(ws)
    assert (raised.value.rcvd.code, raised.value.rcvd.reason) == (3000, "bye")


def test_access_log(echo: Process) -> None:
    echo.get("/logged")
    with client(echo, "/logged-too"):
        pass
    if not ORIGINAL:
        echo.wait_for(r'"GET /logged HTTP/1.1" 200 ')
        echo.wait_for(r'"GET /logged-too HTTP/1.1" 101 ')


def test_chat(chat: Process) -> None:
    with client(chat, "/chat") as ann, client(chat, "/chat") as bob:
        ann.send(json.dumps({"type": "name", "name": "Ann"}))
        assert json.loads(receive(ann))["names"] in (["?", "Ann"], ["Ann"])
        bob.send(json.dumps({"type": "name", "name": "Bob"}))
        assert json.loads(receive(bob))["names"] == ["Ann", "Bob"]
        ann.send(json.dumps({"type": "text", "text": "Hello!"}))
        expected = {"type": "text", "from": "Ann", "text": "Hello!"}
        assert json.loads(receive(ann)) == json.loads(receive(bob)) == expected
    chat.wait_for(r"open\n(.|\n)*message None\nclose None\n(.|\n)*message None\nclose None\n")
    assert chat.get("/chat") == (200, b"the chat")


def test_default_application_echoes(chat: Process) -> None:
    with client(chat, "/echo") as ws:
        ws.send("again")
        assert receive(ws) == "again"


def test_no_application_for_a_path(chat: Process) -> None:
    with client(chat, "/nowhere") as ws, pytest.raises(ConnectionClosed):
        receive(ws)


def test_broadcast_over_clients(broadcast: Process) -> None:
    with client(broadcast, "/") as ann, client(broadcast, "/") as bob:
        ann.send("to all")
        assert receive(ann) == receive(bob) == "to all"
        bob.send(b"to all")
        assert receive(ann) == receive(bob) == b"to all"
    # It looks while its own client is still one of them.
    broadcast.wait_for("clients 1\n")


def test_others_send(broadcast: Process) -> None:
    with client(broadcast, "/ticks") as ws:
        first = receive(ws)
        assert receive(ws) != first
    broadcast.wait_for("listeners 0\n")


def test_bottle(bottle_style: Process) -> None:
    with client(bottle_style, "/websocket") as ws:
        ws.send("Hello!")
        assert receive(ws) == "Your message was: 'Hello!'"
    bottle_style.wait_for("WebSocketError: Socket is dead\n")
    assert bottle_style.get("/websocket")[0] == 400


@only_ours
def test_crash_that_a_framework_catches(bottle_style: Process) -> None:
    with client(bottle_style, "/crash") as ws:
        ws.send("now")
        assert close_code(ws) == 1011


def test_flask_sockets(flask_sockets_style: Process) -> None:
    with client(flask_sockets_style, "/echo/Ann?greeting=says") as ws:
        ws.send("Hello!")
        assert receive(ws) == "Ann says Hello!"
    assert flask_sockets_style.get("/") == (200, b"Hello World!")
