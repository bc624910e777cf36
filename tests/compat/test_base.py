"""The subprotocol that is none: it passes everything on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from geventws.compat.geventwebsocket.protocols.base import BaseProtocol


class Application:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def on_open(self) -> None:
        self.events.append("open")

    def on_message(self, message: Any) -> None:
        self.events.append(message)

    def on_close(self, reason: Any) -> None:
        self.events.append(reason)


def test_events_are_passed_on() -> None:
    app = Application()
    protocol = BaseProtocol(app)
    assert protocol.app is app
    protocol.on_open()
    protocol.on_message("text")
    protocol.on_close()
    protocol.on_close("why")
    assert app.events == ["open", "text", None, "why"]


def test_server_and_handler() -> None:
    app: Any = Application()
    protocol = BaseProtocol(app)
    assert (protocol.server, protocol.handler) == (None, None)
    app.ws = SimpleNamespace(handler=SimpleNamespace(server="server"))
    assert (protocol.server, protocol.handler) == ("server", app.ws.handler)


def test_without_an_application() -> None:
    with pytest.raises(RuntimeError, match="no application"):
        _ = BaseProtocol(None).app
