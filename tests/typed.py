"""A user's program with types, which `make types` checks as strictly as the package itself."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import assert_type

import geventws
from geventws import ClientConnection, Request, Response, ServerConnection
from geventws.testing import RunningServer, connection_pair
from geventws.wsgi import WebSocketMiddleware, accept, websocket_app


def receive(ws: ClientConnection) -> None:
    assert_type(ws.recv(), str | bytes)
    assert_type(ws.recv(timeout=1), str | bytes)
    assert_type(ws.recv(decode=None), str | bytes)
    assert_type(ws.recv(decode=True), str)
    assert_type(ws.recv(1.5, decode=False), bytes)
    assert_type(ws.recv(None, True), str)
    for message in ws:
        assert_type(message, str | bytes)
    assert_type(ws.recv_streaming(), Iterator[str | bytes])


def send(ws: ServerConnection) -> None:
    ws.send("text")
    ws.send(b"bytes", text=True)
    ws.send(bytearray(3), compress=False)
    ws.send(part for part in ("in ", "parts"))
    ws.send(1)  # type: ignore[arg-type]
    assert_type(ws.ping().wait(1), bool)
    assert_type(ws.wait_closed(timeout=1), bool)
    assert_type(ws.close_code, int | None)
    assert_type(ws.request, Request | None)
    assert_type(ws.subprotocol, str | None)
    assert_type(ws.username, str | None)


class Player(ServerConnection):
    """A connection that knows more."""

    lives = 3


def play(ws: Player) -> int:
    return ws.lives


def check(ws: ServerConnection, request: Request) -> Response | None:
    assert_type(request.headers["Host"], str)
    assert_type(request.headers.get("Cookie"), str | None)
    return ws.respond(403, "no") if request.path == "/secret" else None


def serve(context: ssl.SSLContext) -> None:
    with geventws.serve(
        play, "", 443, ssl=context, process_request=check, create_connection=Player
    ) as server:
        assert_type(server, geventws.Server)
        assert_type(server.connections, set[ServerConnection])
        geventws.broadcast(server.connections, "hi", drop_slow=True)
        server.shutdown(code=1012, reason="restart", timeout=5)
    with geventws.connect("ws://localhost", max_size=(2**20, None)) as ws:
        assert_type(ws, ClientConnection)
    geventws.connect()  # type: ignore[call-arg]
    geventws.connect("ws://localhost", pings=1)
    try:
        ws.recv()
    except geventws.ConnectionClosedError as exc:
        assert_type(exc.code, int)


@websocket_app(max_size=1000)
def app(ws: ServerConnection) -> None:
    ws.send("hi")


def wsgi(
    environ: dict[str, object], start_response: Callable[..., Callable[[bytes], object]]
) -> list[bytes]:
    with accept(environ, start_response, subprotocols=["chat"]) as ws:
        assert_type(ws.recv(decode=True), str)
    return []


middleware = WebSocketMiddleware(wsgi, {"/app": send})


def test(ws_server: Callable[..., RunningServer]) -> None:
    with ws_server(send, max_size=10).connect("/path") as ws:
        assert_type(ws, ClientConnection)
    with connection_pair(client={"origin": "a"}) as pair:
        assert_type(pair, tuple[ClientConnection, ServerConnection])
