"""Applications as classes, and which of them answers."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest

from geventws import Opcode
from geventws.compat.geventwebsocket.protocols.base import BaseProtocol
from geventws.compat.geventwebsocket.resource import Resource, WebSocketApplication
from geventws.compat.geventwebsocket.server import WebSocketServer
from tests.net.support import until
from tests.wsgi.support import served


class Recorder(WebSocketApplication):
    """Notes what happens to it."""

    def __init__(self, ws: Any) -> None:
        super().__init__(ws)
        EVENTS.append(("init", ws.path))

    def on_open(self) -> None:
        EVENTS.append(("open",))

    def on_message(self, message: Any) -> None:
        EVENTS.append(("message", message))
        if message == "close":
            self.ws.close()

    def on_close(self, reason: Any) -> None:
        EVENTS.append(("close", reason))


EVENTS: list[Any] = []


@pytest.fixture(autouse=True)
def no_events() -> None:
    EVENTS.clear()


def page(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


def test_life_of_an_application() -> None:
    with served(Resource([("/", Recorder)]), server_class=WebSocketServer) as server:
        client = server.open("/here")
        client.send_frame(Opcode.TEXT, b"1")
        client.send_frame(Opcode.BINARY, b"2")
        client.close()
        until(lambda: EVENTS and EVENTS[-1][0] == "close")
    assert EVENTS == [
        ("init", "/here"),
        ("open",),
        ("message", "1"),
        ("message", b"2"),
        ("message", None),
        ("close", None),
    ]


def test_application_closes() -> None:
    with served(Resource([("/", Recorder)]), server_class=WebSocketServer) as server:
        client = server.open()
        client.send_frame(Opcode.TEXT, b"close")
        frame = client.recv_frame()
        assert frame is not None and frame.opcode is Opcode.CLOSE
        client.close()
        until(lambda: EVENTS and EVENTS[-1][0] == "close")
    assert EVENTS[2:] == [("message", "close"), ("close", None)]


def test_default_application_echoes_and_ends_quietly() -> None:
    with served(Resource([("/", WebSocketApplication)]), server_class=WebSocketServer) as server:
        client = server.open()
        client.send_frame(Opcode.TEXT, b"text")
        frame = client.recv_frame()
        assert frame is not None and frame.data == b"text"
        client.close()
        server.wait_for_log(101)


@pytest.mark.parametrize(
    "apps",
    [
        [("/a", Recorder), ("/[ab]", page)],
        OrderedDict([("/a", Recorder), ("/[ab]", page)]),
        {"/a": Recorder, "/[ab]": page},
    ],
)
def test_who_answers(apps: Any) -> None:
    resource = Resource(apps)
    assert resource._app_by_path("/abc", True) is Recorder
    assert resource._app_by_path("/abc", False) is page
    assert resource._app_by_path("/b", True) is None
    assert resource({"PATH_INFO": "/a"}, lambda *args: None) == [b"/a"]


@pytest.mark.parametrize("environ", [{}, {"wsgi.websocket": None}])
def test_nobody_answers(environ: dict[str, Any]) -> None:
    with pytest.raises(LookupError, match="'/nowhere'"):
        Resource()({"PATH_INFO": "/nowhere", **environ}, None)


def test_subprotocol_of_an_application() -> None:
    class Protocol(BaseProtocol):
        PROTOCOL_NAME = "chat"

    class Application(Recorder):
        protocol_class = Protocol

    resource = Resource([("/chat", Application), ("/", Recorder), ("/", page)])
    assert Application.protocol_name() == "chat"
    assert resource.app_protocol("/chat") == "chat"
    assert resource.app_protocol("/") == ""
    assert resource.app_protocol("nowhere") == ""
    with served(resource, server_class=WebSocketServer) as server:
        client = server.open("/chat", headers=[("Sec-WebSocket-Protocol", "other, chat")])
        assert client.response is not None
        assert client.response.headers["Sec-WebSocket-Protocol"] == "chat"
        client.close()
        until(lambda: EVENTS and EVENTS[-1][0] == "close")
