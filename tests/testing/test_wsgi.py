"""A client for a WSGI application that runs on no port."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from flask import Flask

from geventws import ConnectionClosedError, InvalidStatus
from geventws.flask import Sock
from geventws.pywsgi import WebSocketHandler
from geventws.testing import WSGIClient
from geventws.wsgi import accept


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/echo":
        with accept(environ, start_response) as ws:
            for message in ws:
                ws.send(message)
        return []
    if environ["PATH_INFO"] == "/crash":
        raise RuntimeError("oops")
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [environ["SERVER_NAME"].encode(), environ.get("HTTP_X", "").encode()]


def test_websocket() -> None:
    with WSGIClient(app).connect("/echo", subprotocols=["a"]) as ws:
        ws.send("Hello!")
        assert ws.recv(timeout=10) == "Hello!"
    assert ws.close_code == 1000


def test_refusal() -> None:
    with pytest.raises(InvalidStatus) as raised:
        WSGIClient(app).connect("/elsewhere")
    assert raised.value.response.status_code == 404
    assert raised.value.response.body == b"localhost"


def test_page() -> None:
    response = WSGIClient(app, environ={"SERVER_NAME": "here"}).get("/?a=b", [("X", "y")])
    assert (response.status_code, response.body) == (404, b"herey")


def test_application_that_crashes() -> None:
    client = WSGIClient(app)
    assert client.get("/crash").status_code == 500


def test_handler_class() -> None:
    def echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        ws = environ["wsgi.websocket"]
        ws.send(ws.recv())
        raise RuntimeError("oops")

    with WSGIClient(echo, handler_class=WebSocketHandler).connect() as ws:
        ws.send("x")
        assert ws.recv(timeout=10) == "x"
        with pytest.raises(ConnectionClosedError):
            ws.recv(timeout=10)
        assert ws.close_code == 1011


def test_flask() -> None:
    flask = Flask(__name__)
    sock = Sock(flask)

    @sock.route("/echo/<name>")
    def echo(ws: Any, name: str) -> None:
        ws.send(name)

    with WSGIClient(flask).connect("/echo/ann") as ws:
        assert ws.recv(timeout=10) == "ann"
