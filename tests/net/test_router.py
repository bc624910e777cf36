"""URLs to handlers."""

from __future__ import annotations

import inspect
import pathlib
import sys
from typing import Any

import pytest
from werkzeug.routing import Map, Rule

from geventws import (
    InvalidStatus,
    basic_auth,
    connect,
    route,
    unix_connect,
    unix_route,
)
from geventws.net.router import Router
from geventws.testing import RawClient
from tests.net.support import HOST, PATIENCE, client_tls, server_tls, uri_of


def root(ws: Any) -> None:
    ws.send("root")


def channel(ws: Any, name: str, number: int = 0) -> None:
    ws.send(f"{name} {number}")


def url_map() -> Map:
    return Map(
        [
            Rule("/", endpoint=root),
            Rule("/channel/<name>", endpoint=channel),
            Rule("/channel/<name>/<int:number>", endpoint=channel),
            Rule("/old", redirect_to="/channel/new"),
            Rule("/slash/", endpoint=root),
            Rule("/café/", endpoint=root),
            Rule("/post", endpoint=root, methods=["POST"]),
        ]
    )


def routing(**options: Any) -> Any:
    return route(url_map(), HOST, 0, **options)


def refusal(uri: str, **options: Any) -> Any:
    with pytest.raises(InvalidStatus) as raised:
        connect(uri, **options)
    return raised.value.response


@pytest.mark.parametrize(
    "path, expected",
    [
        ("", "root"),
        ("?a=b", "root"),
        ("channel/news", "news 0"),
        ("channel/news/7", "news 7"),
        ("channel/caf%C3%A9?x=1", "café 0"),
    ],
)
def test_handlers(path: str, expected: str) -> None:
    with routing() as server, connect(uri_of(server) + path) as ws:
        assert ws.recv(PATIENCE) == expected


@pytest.mark.parametrize("path", ["nowhere", "channel/news/seven", "post", "%00", "%FF"])
def test_not_found(path: str) -> None:
    with routing() as server:
        response = refusal(uri_of(server) + path)
        assert (response.status_code, response.body) == (404, b"Not Found")


def redirects(server: Any, path: str, **options: Any) -> str:
    with RawClient(server.address, open=False, **options) as peer:
        peer.send_bytes(RawClient.request(path=path))
        response = peer.recv_response()
    assert response.status_code == 302
    assert response.body == f"Found at {response.headers['Location']}".encode()
    return response.headers["Location"]


def test_redirect() -> None:
    with routing() as server:
        assert redirects(server, "/old") == "ws://localhost/channel/new"
        assert redirects(server, "/slash?a=b") == "ws://localhost/slash/?a=b"
        assert redirects(server, "/caf%C3%A9") == "ws://localhost/caf%C3%A9/"


def test_redirect_to_the_name_of_the_server() -> None:
    with routing(server_name="example.com:8000") as server:
        assert redirects(server, "/old") == "ws://example.com:8000/channel/new"


def test_redirect_over_tls() -> None:
    with routing(ssl=server_tls()) as server:
        assert redirects(server, "/old", ssl=client_tls()) == "wss://localhost/channel/new"


def test_redirect_behind_a_proxy_that_speaks_tls() -> None:
    with routing(ssl=True) as server:
        assert redirects(server, "/old") == "wss://localhost/channel/new"


def test_the_connection_knows_its_handler() -> None:
    def handler(ws: Any, **captured: Any) -> None:
        ws.send(f"{ws.handler is handler} {ws.handler_kwargs} {captured}")

    rules = Map([Rule("/<uuid:id>", endpoint=handler)])
    with route(rules, HOST, 0) as server:
        with connect(uri_of(server) + "12345678-1234-5678-1234-567812345678") as ws:
            captured = "{'id': UUID('12345678-1234-5678-1234-567812345678')}"
            assert ws.recv(PATIENCE) == f"True {captured} {captured}"


def test_process_request_comes_first() -> None:
    auth = basic_auth("staff", ("alice", "secret"))
    with routing(process_request=auth) as server:
        uri = uri_of(server)
        assert refusal(uri + "nowhere").status_code == 401
        with connect(uri.replace("//", "//alice:secret@") + "channel/news") as ws:
            assert ws.recv(PATIENCE) == "news 0"
        assert refusal(uri.replace("//", "//alice:secret@") + "nowhere").status_code == 404


@pytest.mark.parametrize(
    "old, new",
    [(b"Host: localhost\r\n", b""), (b"Host: ", b"Host: other\r\nHost: "), (b"GET", b"POST")],
    ids=["no host", "two hosts", "method"],
)
def test_requests_that_open_nothing(
    old: bytes, new: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with routing() as server, RawClient(server.address, open=False) as peer:
        peer.send_bytes(RawClient.request().replace(old, new))
        assert peer.recv_response().status_code in (400, 405)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


class Moved(Router):
    """A router that is customized."""

    def not_found(self, ws: Any) -> Any:
        return self.redirect(ws, "ws://elsewhere/")


def test_create_router() -> None:
    with routing(create_router=Moved) as server:
        assert redirects(server, "/nowhere") == "ws://elsewhere/"


def test_http_is_not_routed() -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    with routing(http=application) as server, RawClient(server.address, open=False) as peer:
        peer.send_bytes(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert peer.recv_response().body == b"/nowhere"


def test_unix_route(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "socket"
    with unix_route(url_map(), path):
        with unix_connect(path, "ws://localhost/channel/news") as ws:
            assert ws.recv(PATIENCE) == "news 0"
    assert not path.exists()


@pytest.mark.parametrize("make", [lambda: route(object()), lambda: unix_route(object(), "/x")])  # type: ignore[arg-type]
def test_werkzeug_is_missing(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "werkzeug.routing", None)
    with pytest.raises(ImportError, match=r"pip install geventws\[router\]"):
        make()


def test_arguments_are_those_of_websockets() -> None:
    theirs = pytest.importorskip("websockets.sync.router")
    expected = inspect.signature(theirs.route).parameters
    parameters = inspect.signature(route).parameters
    assert list(parameters) == list(expected)
    for name, parameter in expected.items():
        assert parameters[name].default == parameter.default, name
