"""All ways in which a connection can end, and servers to meet them."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gevent
import gevent.ssl
from gevent import pywsgi

from geventws import ConnectionClosed, InvalidStatus, Request, connect
from geventws.testing import RawClient
from geventws.wsgi import websocket_app
from tests.net.support import HOST, client_tls, server_tls, serving
from tests.wsgi.support import served

# Seconds until silence has consequences.
SHORT = 0.1
PATIENT: dict[str, Any] = {"close_timeout": SHORT}
IMPATIENT: dict[str, Any] = {
    "open_timeout": SHORT,
    "ping_interval": SHORT,
    "ping_timeout": SHORT,
    "close_timeout": SHORT,
}


class Crash(Exception):
    """What an application raises, on either side."""


def handler(ws: Any) -> None:
    """Do what the path says."""
    path = ws.request.path
    if path == "/crash":
        raise Crash
    elif path == "/kill":
        gevent.getcurrent().kill(block=False)
        ws.recv()
    elif path == "/timeout":
        with gevent.Timeout(SHORT / 10):
            ws.recv()
    elif path == "/exit":
        raise SystemExit
    elif path == "/flood":
        with contextlib.suppress(ConnectionClosed):
            while True:
                ws.send(bytes(10_000))
    elif path != "/return":
        with contextlib.suppress(ConnectionClosed):
            for message in ws:
                ws.send(message)


class House(NamedTuple):
    """Where to connect to."""

    port: int
    tls: gevent.ssl.SSLContext | None

    def connect(self, path: str, **options: Any) -> Any:
        scheme = "ws" if self.tls is None else "wss"
        options = {"ssl": self.tls, **PATIENT, **options}
        return connect(f"{scheme}://{HOST}:{self.port}{path}", **options)

    def raw(self, path: str = "/echo", open: bool = True) -> RawClient:
        client = RawClient((HOST, self.port), ssl=self.tls, open=False)
        if open:
            client.send_bytes(client.request(path=path))
            assert client.recv_response().status_code == 101
        return client


@contextlib.contextmanager
def own(tls: bool, timeouts: dict[str, Any] = PATIENT) -> Iterator[House]:
    """A server of geventws."""

    def refuse(ws: Any, request: Request) -> Any:
        return ws.respond(403, "no\n") if request.path == "/refuse" else None

    options = {"process_request": refuse, **timeouts}
    with serving(handler, ssl=server_tls() if tls else None, **options) as server:
        yield House(server.address[1], client_tls() if tls else None)


@contextlib.contextmanager
def impatient(tls: bool) -> Iterator[House]:
    """A server of geventws that does not wait long."""
    with own(tls, IMPATIENT) as house:
        yield house


@contextlib.contextmanager
def mounted(tls: bool) -> Iterator[House]:
    """A server of gevent's, whose application is a handler."""
    websocket = websocket_app(**PATIENT)(handler)

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/refuse":
            start_response("403 Forbidden", [])
            return [b"no\n"]
        return websocket(environ, start_response)

    with served(app, tls=tls) as here:
        # The process grows by connections alone.
        here.server.log = here.server.error_log = pywsgi._NoopLog()
        yield House(here.server.server_port, client_tls() if tls else None)


# Fates.


def clean(house: House) -> None:
    with house.connect("/echo") as ws:
        ws.send(["frag", "ments"])
        assert ws.recv() == "fragments"
        assert ws.ping().wait(10)


def ended_by_the_server(house: House) -> None:
    for path in ("/return", "/crash", "/kill", "/timeout", "/exit"):
        with house.connect(path) as ws, contextlib.suppress(ConnectionClosed):
            ws.recv()


def crashed_client(house: House) -> None:
    with contextlib.suppress(Crash), house.connect("/echo"):
        raise Crash


def killed_client(house: House) -> None:
    def use() -> None:
        with house.connect("/echo") as ws:
            ws.recv()

    victim = gevent.spawn(use)
    victim.join(SHORT / 5)
    victim.kill()


def impatient_client(house: House) -> None:
    with house.connect("/echo") as ws, contextlib.suppress(TimeoutError):
        ws.recv(timeout=0.001)


def refused(house: House) -> None:
    with contextlib.suppress(InvalidStatus):
        house.connect("/refuse").close()


def reset(house: House) -> None:
    house.raw().reset()


def cut_in_a_frame(house: House) -> None:
    with house.raw() as peer:
        peer.send_bytes(b"\x81\x85abc")


def violation(house: House) -> None:
    with house.raw() as peer:
        peer.send_bytes(b"\xff\xff")
        peer.recv_eof()


def bad_request(house: House) -> None:
    with house.raw(open=False) as peer:
        peer.send_bytes(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        peer.sock.recv(10_000)


def half_a_request(house: House) -> None:
    with house.raw(open=False) as peer:
        peer.send_bytes(b"GET / HT")


def deaf_to_closing(house: House) -> None:
    with house.raw("/return") as peer:
        assert peer.recv_close() is not None
        peer.recv_eof()


def reads_nothing(house: House) -> None:
    with house.raw("/flood"):
        gevent.sleep(SHORT)


def port_scan(house: House) -> None:
    gevent.socket.create_connection((HOST, house.port)).close()


def nobody_there(house: House) -> None:
    with gevent.socket.socket() as sock:
        sock.bind((HOST, 0))
        with contextlib.suppress(ConnectionRefusedError):
            connect(f"ws://{HOST}:{sock.getsockname()[1]}/").close()


def silent(house: House) -> None:
    """Say nothing until the server has enough."""
    with contextlib.suppress(OSError), house.raw(open=False) as peer:
        peer.recv_eof()


def deaf(house: House) -> None:
    """Answer no ping, and no close frame."""
    with contextlib.suppress(EOFError), house.raw() as peer:
        while peer.recv_frame() is not None:
            pass


def plaintext(house: House) -> None:
    sock = gevent.socket.create_connection((HOST, house.port))
    sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    with contextlib.suppress(ConnectionResetError):
        while sock.recv(1000):
            pass
    sock.close()


def without_trust(house: House) -> None:
    context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_CLIENT)
    with contextlib.suppress(ssl.SSLCertVerificationError):
        house.connect("/echo", ssl=context).close()


def half_a_tls_handshake(house: House) -> None:
    sock = gevent.socket.create_connection((HOST, house.port))
    sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
    gevent.sleep(0.001)
    sock.close()


Fate = Callable[[House], None]

ANYWHERE: list[Fate] = [
    clean,
    ended_by_the_server,
    crashed_client,
    killed_client,
    impatient_client,
    refused,
    reset,
    cut_in_a_frame,
    violation,
    bad_request,
    half_a_request,
    deaf_to_closing,
    reads_nothing,
    port_scan,
    nobody_there,
]
WHERE_NOBODY_WAITS: list[Fate] = [silent, deaf]
TLS: list[Fate] = [plaintext, without_trust, half_a_tls_handshake]
