"""Making servers: where they listen, and with what."""

from __future__ import annotations

import functools
import inspect
import os
import pathlib
import signal
import socket
import ssl
import stat
import sys
from typing import Any

import gevent.socket
import pytest

from geventws import (
    ProtocolError,
    ServerConnection,
    connect,
    serve,
    unix_connect,
    unix_serve,
)
from geventws.testing import RawClient
from tests.core.test_extensions import run_example
from tests.net.support import (
    HOST,
    PATIENCE,
    Program,
    authority,
    client_tls,
    echo,
    server_tls,
    serving,
    uri_of,
)

ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this system has no IPv6")


def check(ws: Any) -> None:
    """Use a connection, and close it."""
    with ws:
        ws.send("hello")
        assert ws.recv() == "hello"


# TCP.


@pytest.mark.parametrize("port", [0, None])
def test_free_port(port: int | None) -> None:
    with serve(echo, HOST, port) as server:
        host, chosen = server.address
        assert (host, chosen) == server.socket.getsockname()
        assert host == HOST and chosen > 0
        check(connect(uri_of(server)))


def test_logs_where_it_listens(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "geventws.server")
    with serve(echo, HOST, 0) as server:
        port = server.address[1]
    assert caplog.messages[0] == f"server listening on {HOST}:{port}"


@ipv6
def test_ipv6(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "geventws.server")
    with serve(lambda ws: ws.send(str(ws.remote_address[0])), "::1", 0) as server:
        port = server.address[1]
        with connect(f"ws://[::1]:{port}/") as ws:
            assert ws.recv() == "::1"
            assert ws.request.headers["Host"] == f"[::1]:{port}"
    assert caplog.messages[0] == f"server listening on [::1]:{port}"


@ipv6
@pytest.mark.parametrize("host", [None, ""])
def test_all_interfaces(host: str | None) -> None:
    with serve(echo, host, 0) as server:
        port = server.address[1]
        check(connect(f"ws://127.0.0.1:{port}/"))
        check(connect(f"ws://[::1]:{port}/"))


def test_name_for_host() -> None:
    with serve(echo, "localhost", 0) as server:
        check(connect("ws://localhost/", address=server.address[:2]))


def test_nothing_is_accepted_before_the_start() -> None:
    server = serve(echo, HOST, 0)
    with RawClient(server.address, open=False) as peer:
        server.shutdown()
        peer.recv_eof()


def test_port_in_use() -> None:
    with serving(echo) as server:
        with pytest.raises(OSError, match="in use"):
            serve(echo, HOST, server.address[1])


def test_arguments_for_the_socket() -> None:
    with serve(echo, HOST, 0, reuse_port=True, backlog=5) as server:
        port = server.address[1]
        with serve(echo, HOST, port, reuse_port=True) as other:
            assert other.address == server.address
            check(connect(uri_of(server)))


REUSING = """
import os, sys, geventws

server = geventws.serve(
    lambda ws: ws.send(str(os.getpid())), "127.0.0.1", int(sys.argv[1]), reuse_port=True
)
print(server.address[1], flush=True)
server.serve_forever()
"""


def test_two_processes_on_one_port() -> None:
    with Program(REUSING, "0") as one, Program(REUSING, str(one.port)) as other:
        assert other.port == one.port
        expected = {str(program.process.pid) for program in (one, other)}
        answers: set[Any] = set()
        # The kernel spreads by the client's port: that it never does is one in 2 ** 99.
        for _ in range(100):
            with connect(one.uri) as ws:
                answers.add(ws.recv(PATIENCE))
            if answers == expected:
                break
        assert answers == expected
        # Whoever goes leaves the port to the other.
        one.signal(signal.SIGTERM)
        assert one.end() == (0, "", "")
        with connect(other.uri) as ws:
            assert ws.recv(PATIENCE) == str(other.process.pid)


def test_socket_that_does_not_listen() -> None:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        server = serve(echo, sock=sock)
        with pytest.raises(ValueError, match="sock does not listen: call its listen"):
            server.start()


@pytest.mark.parametrize("module", [socket, gevent.socket], ids=["stdlib", "gevent"])
def test_existing_socket(module: Any) -> None:
    sock = module.create_server((HOST, 0)) if module is socket else module.socket()
    if module is not socket:
        sock.bind((HOST, 0))
        sock.listen()
    with serve(echo, sock=sock) as server:
        assert server.socket is sock
        check(connect(uri_of(server)))
    assert sock.fileno() == -1


@pytest.mark.parametrize(
    "arguments, exception",
    [
        ({"host": HOST}, ValueError),
        ({"port": 0}, ValueError),
        ({"backlog": 5}, TypeError),
    ],
)
def test_arguments_that_contradict_a_socket(
    arguments: dict[str, Any], exception: type[Exception]
) -> None:
    with socket.create_server((HOST, 0)) as sock:
        with pytest.raises(exception, match="sock"):
            serve(echo, sock=sock, **arguments)
        # It was not ours yet.
        assert sock.fileno() != -1


@pytest.mark.parametrize(
    "arguments, exception, message",
    [
        ({"compression": "gzip"}, ValueError, "unsupported compression: gzip"),
        ({"origins": "https://example.com"}, TypeError, "must be a list"),
        ({"subprotocols": "chat"}, TypeError, "must be a list"),
        ({"subprotocols": ["no token"]}, ValueError, "no token"),
        ({"max_queue": (1, 2)}, ValueError, "greater than or equal to low"),
        ({"write_limit": (1, -1)}, ValueError, "positive or equal to zero"),
        ({"unknown": 1}, TypeError, "unknown"),
        ({"http": "app"}, TypeError, "http must be a WSGI application, not str"),
        ({"max_connections": 0}, ValueError, "max_connections must be at least 1"),
    ],
)
def test_bad_arguments(
    arguments: dict[str, Any],
    exception: type[Exception],
    message: str,
    tmp_path: pathlib.Path,
) -> None:
    with pytest.raises(exception, match=message):
        serve(echo, HOST, 0, **arguments)
    with pytest.raises(exception, match=message):
        unix_serve(echo, tmp_path / "socket", **arguments)
    # Nothing is left behind.
    assert not (tmp_path / "socket").exists()


def test_handler_that_is_no_function() -> None:
    with pytest.raises(TypeError, match="the handler must be callable, not int"):
        serve(42, HOST, 0)  # type: ignore[arg-type]


def test_path_that_is_no_socket(tmp_path: pathlib.Path) -> None:
    (tmp_path / "page.html").write_text("precious")
    with pytest.raises(FileExistsError, match="not a socket.*page.html"):
        unix_serve(echo, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "precious"


def test_bad_arguments_leave_a_socket_of_the_user_alone(tmp_path: pathlib.Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
        sock.listen()
        with pytest.raises(TypeError, match="http"):
            unix_serve(echo, sock=sock, http=42)
        assert sock.fileno() != -1


def test_defaults_are_those_of_websockets() -> None:
    theirs = pytest.importorskip("websockets.sync.server").serve
    expected = inspect.signature(theirs).parameters
    parameters = inspect.signature(serve).parameters
    for name, parameter in expected.items():
        assert name in parameters, name
        if name != "server_header":
            assert parameters[name].default == parameter.default, name
            assert parameters[name].kind == parameter.kind, name


# Unix sockets.


def test_unix_socket(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "geventws.server")
    path = tmp_path / "socket"
    with unix_serve(echo, path) as server:
        assert server.address == str(path)
        assert stat.S_ISSOCK(path.stat().st_mode)
        check(unix_connect(path))
        check(unix_connect(str(path), "ws://example.com/path"))
    assert caplog.messages[0] == f"server listening on {path}"
    assert not path.exists()


def test_unix_socket_with_tls(tmp_path: pathlib.Path) -> None:
    path = os.fsencode(tmp_path / "socket")
    with unix_serve(echo, path, ssl=server_tls()):
        check(unix_connect(path, ssl=client_tls()))


def test_unix_socket_is_replaced_or_kept(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with unix_serve(echo, path):
        with pytest.raises(OSError, match="in use"):
            unix_serve(echo, path)
        check(unix_connect(path))


def test_existing_unix_socket(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "socket"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    with unix_serve(echo, sock=sock):
        check(unix_connect(path))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract names")
def test_abstract_unix_socket() -> None:
    name = b"\0geventws-test-%d" % os.getpid()
    with unix_serve(echo, name) as server:
        assert server.address == name
        check(unix_connect(name))
    assert server.socket.fileno() == -1


def test_unix_socket_without_path_or_with_two(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="needs a path"):
        unix_serve(echo)
    with socket.socket(socket.AF_UNIX) as sock:
        with pytest.raises(ValueError, match="needs a path"):
            unix_serve(echo, tmp_path / "socket", sock=sock)


# TLS.


@pytest.mark.parametrize("module", [ssl, gevent.ssl], ids=["stdlib", "gevent"])
def test_tls(module: Any) -> None:
    context = module.SSLContext(module.PROTOCOL_TLS_SERVER)
    authority()[1].configure_cert(context)
    with serving(echo, ssl=context) as server:
        check(connect(uri_of(server, "wss"), ssl=client_tls()))


# Connections.


class Account(ServerConnection):
    """A connection with something of its own."""

    def __init__(self, *args: Any, bonus: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.balance = bonus

    def greet(self) -> None:
        self.send(f"you have {self.balance}")


@pytest.mark.parametrize(
    "create_connection, expected",
    [(Account, "you have 0"), (functools.partial(Account, bonus=5), "you have 5")],
    ids=["subclass", "partial"],
)
def test_create_connection(create_connection: Any, expected: str) -> None:
    with serving(lambda ws: ws.greet(), create_connection=create_connection) as server:
        with connect(uri_of(server)) as ws:
            assert ws.recv() == expected


def test_create_connection_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    def create_connection(*args: Any, **kwargs: Any) -> ServerConnection:
        raise RuntimeError("oops")

    with serving(echo, create_connection=create_connection) as server:
        with RawClient(server.address, open=False) as peer:
            peer.recv_eof()
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [error.getMessage() for error in errors] == ["unexpected internal error"]


def test_attributes_of_ones_own() -> None:
    def handler(ws: Any) -> None:
        ws.user = "alice"
        ws.send(ws.user)

    with serving(handler) as server, connect(uri_of(server)) as ws:
        assert ws.recv() == "alice"


def test_small_frames_are_sent_at_once() -> None:
    options = []

    def handler(ws: Any) -> None:
        sock = ws._transport.sock
        options.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    with serving(handler) as server, connect(uri_of(server)) as ws:
        assert ws.wait_closed(10)
        assert ws.close_code == 1000
    assert options == [1]


def test_a_socket_given_by_the_user_keeps_its_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "ws.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.fspath(path))
        sock.listen()
        with unix_serve(echo, sock=sock) as server:
            assert server.address == os.fspath(path)
        assert path.exists()


def test_the_address_is_known_after_shutdown() -> None:
    with serving(echo) as server:
        address = server.address
    assert server.address == address


def test_shutdown_with_a_bad_code_leaves_the_server_open() -> None:
    with serving(echo) as server:
        with pytest.raises(ProtocolError, match="invalid status code"):
            server.shutdown(1006)
        with connect(uri_of(server)) as ws:
            ws.send("still here")
            assert ws.recv(timeout=PATIENCE) == "still here"


def test_extensions_of_ones_own() -> None:
    """The documented example, on both ends."""
    names = run_example()
    theirs, ours = names["ServerMirrorFactory"](), names["ClientMirrorFactory"]()
    with serving(echo, extensions=[theirs]) as server:
        with connect(uri_of(server), extensions=[ours], compression=None) as ws:
            assert ws.response is not None
            assert ws.response.headers["Sec-WebSocket-Extensions"] == ours.name
            ws.send("Hello")
            assert ws.recv() == "Hello"
