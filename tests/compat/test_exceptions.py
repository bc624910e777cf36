"""What programs catch."""

from __future__ import annotations

import socket

from geventws.compat import geventwebsocket
from geventws.compat.geventwebsocket.exceptions import (
    FrameTooLargeException,
    ProtocolError,
    WebSocketError,
)


def test_tree() -> None:
    assert geventwebsocket.WebSocketError is WebSocketError
    assert issubclass(WebSocketError, socket.error)
    assert issubclass(ProtocolError, WebSocketError)
    assert issubclass(FrameTooLargeException, ProtocolError)
