"""The WSGI server of gevent-websocket."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from geventws import Opcode
from geventws.compat.geventwebsocket.server import WebSocketServer
from tests.net.support import until
from tests.wsgi.support import served


def wait(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Wait until the WebSocket is closed."""
    if "wsgi.websocket" not in environ:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"plain HTTP"]
    while environ["wsgi.websocket"].receive() is not None:
        pass
    return []


def test_stop_says_goodbye() -> None:
    with served(wait, server_class=WebSocketServer) as server:
        client = server.open()
        until(lambda: len(server.server.clients) == 1)
        server.server.stop(timeout=0)
        frame = client.recv_frame()
        assert frame is not None
        assert (frame.opcode, frame.data) == (Opcode.CLOSE, b"\x03\xe9")
        client.close()
        until(lambda: not server.server.clients)


def test_pre_start_hook() -> None:
    options: Any = {"pre_start_hook": lambda handler: handler.environ["PATH_INFO"] == "/http"}
    with served(wait, server_class=WebSocketServer, **options) as server:
        request = server.open("/").request(path="/http")
        client = server.request(request)
        assert client.response is not None and client.response.body == b"plain HTTP"
        client.close()


def test_debug_prints_what_happens(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        with served(wait, server_class=WebSocketServer, debug=True) as server:
            server.open().close()
            server.wait_for_log(101)
            assert server.server.logger.name == "geventwebsocket.server"
        printed = capsys.readouterr().err
        assert "connection open" in printed and "GET / HTTP/1.1" in printed
        assert printed.count("-" * 80) >= 4
    finally:
        logger = logging.getLogger("geventwebsocket.server")
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)


def test_without_debug_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with served(wait, server_class=WebSocketServer) as server:
        server.open().close()
        server.wait_for_log(101)
        assert server.server.logger.level == logging.NOTSET
    assert capsys.readouterr().err == ""
