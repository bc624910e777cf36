"""Opening: TLS, deadlines, timeouts, kills."""

from __future__ import annotations

import pathlib
import socket
import ssl
import time
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event

from geventws import (
    InvalidStatus,
    InvalidURI,
    SecurityError,
    connect,
    unix_connect,
    unix_serve,
)
from geventws.testing import RawPeer, RawServer
from tests.net.support import (
    HOST,
    PATIENCE,
    SlowDNS,
    authority,
    black_hole,
    check_no_greenlet_is_left,
    client_tls,
    echo,
    greenlets,
    in_thread,
    server_tls,
    serving,
    uri_of,
)


def test_untrusted_certificate() -> None:
    with serving(echo, ssl=server_tls()) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(uri_of(server, "wss"))


def test_certificate_for_another_name() -> None:
    with serving(echo, ssl=server_tls()) as server:
        with pytest.raises(ssl.SSLCertVerificationError, match="example.com"):
            connect(uri_of(server, "wss"), ssl=client_tls(), server_hostname="example.com")
        uri = f"wss://example.com:{server.address[1]}/"
        with connect(
            uri, ssl=client_tls(), address=server.address, server_hostname="localhost"
        ) as ws:
            assert ws.request.headers["Host"] == uri[6:-1]


def test_no_tls_on_the_other_side() -> None:
    with serving(echo) as server:
        with pytest.raises(ssl.SSLError):
            connect(uri_of(server, "wss"), ssl=client_tls())


@pytest.mark.parametrize("module", [ssl, gevent.ssl], ids=["stdlib", "gevent"])
def test_tls(module: Any) -> None:
    context = module.SSLContext(module.PROTOCOL_TLS_CLIENT)
    authority()[0].configure_trust(context)
    with serving(echo, ssl=server_tls()) as server:
        with connect(uri_of(server, "wss"), ssl=context) as ws:
            ws.send("hello")
            assert ws.recv() == "hello"


# Deadlines, timeouts, kills. Each finds the client in another stage.


class Stages:
    """A server that goes only as far as a stage."""

    def __init__(self) -> None:
        self.reached = Event()

    def tcp(self, listener: Any) -> None:
        self.reached.set()

    def answer_drop_by_drop(self, listener: Any) -> None:
        sock, _ = listener.accept()
        with RawPeer(sock, side=None) as peer:  # type: ignore[arg-type]
            self.reached.set()
            try:
                for byte in b"HTTP/1.1 101 Switching Protocols\r\n" + b"A: a\r\n" * 100:
                    peer.send_bytes(bytes([byte]))
                    gevent.sleep(0.02)
            except OSError:
                pass

    def half_a_tls_record(self, listener: Any) -> None:
        sock, _ = listener.accept()
        with RawPeer(sock, side=None) as peer:  # type: ignore[arg-type]
            peer.send_bytes(b"\x16\x03\x03\x00\x7a\x02")
            self.reached.set()
            peer.recv_eof()


STAGES = [
    ("tcp", "ws", "timed out while waiting for handshake response"),
    ("answer_drop_by_drop", "ws", "timed out while waiting for handshake response"),
    ("tcp", "wss", "timed out while waiting for TLS handshake"),
    ("half_a_tls_record", "wss", "timed out while waiting for TLS handshake"),
]
stages = pytest.mark.parametrize("stage, scheme, text", STAGES)


def stalled(stage: str, scheme: str) -> tuple[Any, str, Stages, Any]:
    """A server that stalls in a stage, and its URI."""
    listener = gevent.socket.socket()
    listener.bind((HOST, 0))
    listener.listen()
    server = Stages()
    greenlet = gevent.spawn(getattr(server, stage), listener)
    return listener, f"{scheme}://{HOST}:{listener.getsockname()[1]}/", server, greenlet


@stages
def test_open_timeout(stage: str, scheme: str, text: str) -> None:
    listener, uri, _, greenlet = stalled(stage, scheme)
    before = greenlets()
    started = time.monotonic()
    tls = client_tls() if scheme == "wss" else None
    with pytest.raises(TimeoutError) as raised:
        connect(uri, ssl=tls, open_timeout=0.2)
    assert str(raised.value) == text
    assert 0.19 < time.monotonic() - started < PATIENCE
    greenlet.join(PATIENCE)
    assert greenlet.dead
    listener.close()
    check_no_greenlet_is_left(before)


def test_open_timeout_of_tcp() -> None:
    with black_hole() as (host, port):
        with pytest.raises(TimeoutError) as raised:
            connect(f"ws://{host}:{port}/", open_timeout=0.2)
    assert str(raised.value) == "timed out while connecting"


@stages
def test_timeout_of_the_caller(stage: str, scheme: str, text: str) -> None:
    listener, uri, _, greenlet = stalled(stage, scheme)
    before = greenlets()
    tls = client_tls() if scheme == "wss" else None
    with pytest.raises(gevent.Timeout) as raised:
        with gevent.Timeout(0.1) as timeout:
            connect(uri, ssl=tls)
    assert raised.value is timeout
    greenlet.join(PATIENCE)
    listener.close()
    check_no_greenlet_is_left(before)


@stages
def test_kill_while_opening(stage: str, scheme: str, text: str) -> None:
    listener, uri, server, greenlet = stalled(stage, scheme)
    before = greenlets()
    tls = client_tls() if scheme == "wss" else None
    opening = gevent.spawn(connect, uri, ssl=tls)
    assert server.reached.wait(PATIENCE)
    gevent.sleep(0.02)
    opening.kill()
    assert isinstance(opening.value, gevent.GreenletExit)
    greenlet.join(PATIENCE)
    listener.close()
    check_no_greenlet_is_left(before)


def test_no_deadline_after_opening() -> None:
    with serving(echo) as server:
        with connect(uri_of(server), open_timeout=0.1) as ws:
            gevent.sleep(0.2)
            ws.send("hello")
            assert ws.recv() == "hello"


def test_no_open_timeout() -> None:
    with serving(echo) as server:
        connect(uri_of(server), open_timeout=None).close()


def test_in_the_background() -> None:
    with serving(echo) as server:
        with connect(uri_of(server), background=True) as ws:
            ws.send("hello")
            assert ws.recv(timeout=PATIENCE) == "hello"


def test_deadline_around_another() -> None:
    """Its own connection is made by a function that opens another, and that takes too long."""

    def make(*args: Any, **kwargs: Any) -> Any:
        with RawServer() as silent:
            connect(silent.uri, open_timeout=PATIENCE)

    with serving(echo) as server:
        with pytest.raises(TimeoutError, match="timed out while connecting"):
            connect(uri_of(server), open_timeout=0.05, create_connection=make)


def test_connection_that_cannot_be_made() -> None:
    def make(*args: Any, **kwargs: Any) -> Any:
        raise ValueError("no connection today")

    # That no socket stays open is looked at after each test.
    with serving(echo) as server:
        with pytest.raises(ValueError, match="today"):
            connect(uri_of(server), create_connection=make)


def test_refused() -> None:
    with serving(echo, process_request=lambda ws, request: ws.respond(403, "no\n")) as server:
        with pytest.raises(InvalidStatus) as raised:
            connect(uri_of(server))
    assert raised.value.response.body == b"no\n"


# Redirects.


def redirecting(*locations: str, status: int = 302) -> tuple[Any, list[Any]]:
    """A server that redirects once to each of these, and then accepts; the requests it gets.

    ``PORT`` stands for its own port.
    """
    waiting = list(locations)
    requests: list[Any] = []

    def process_request(ws: Any, request: Any) -> Any:
        requests.append(request)
        if not waiting:
            return None
        response = ws.respond(status, "elsewhere\n")
        port = str(ws.local_address[1])
        response.headers["Location"] = waiting.pop(0).replace("PORT", port)
        return response

    return process_request, requests


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_redirect(status: int) -> None:
    process_request, requests = redirecting("/second?x=1", status=status)
    with serving(echo, process_request=process_request) as server:
        with connect(uri_of(server) + "first") as ws:
            ws.send("hello")
            assert ws.recv() == "hello"
            assert ws.path == "/second?x=1"
    assert [request.path for request in requests] == ["/first", "/second?x=1"]
    # RFC 6455, section 4.1: "The nonce MUST be selected randomly for each connection."
    assert len({request.headers["Sec-WebSocket-Key"] for request in requests}) == 2


def test_credentials_stay_at_their_origin() -> None:
    process_request, requests = redirecting("/same", "ws://localhost:PORT/other")
    headers = {"Cookie": "a=b", "X-Own": "1"}
    with serving(echo, process_request=process_request) as server:
        uri = uri_of(server).replace("//", "//user:password@")
        connect(uri, additional_headers=headers).close()
        first, same, other = requests
        for request in (first, same):
            assert "Authorization" in request.headers
            assert request.headers["Cookie"] == "a=b"
        assert "Authorization" not in other.headers
        assert "Cookie" not in other.headers
        assert other.headers["X-Own"] == "1"
        assert other.headers["Host"] == f"localhost:{server.address[1]}"


def test_redirect_to_tls_and_not_back() -> None:
    to_plain, plain_requests = redirecting()
    with serving(echo, process_request=to_plain) as plain:
        to_tls, _ = redirecting("/on", uri_of(plain))
        with serving(echo, process_request=to_tls, ssl=server_tls()) as tls:
            to_there, _ = redirecting(uri_of(tls, "wss"))
            with serving(echo, process_request=to_there) as first:
                with pytest.raises(ssl.SSLCertVerificationError):
                    # To a ws:// URI no TLS configuration can be given: it is the default one.
                    connect(uri_of(first))
            with pytest.raises(SecurityError) as raised:
                connect(uri_of(tls, "wss"), ssl=client_tls())
    assert str(raised.value) == f"cannot follow redirect to non-secure URI {uri_of(plain)}"
    assert isinstance(raised.value.__cause__, InvalidStatus)
    assert not plain_requests


def test_redirect_loop() -> None:
    process_request, requests = redirecting(*["/again"] * 20)
    with serving(echo, process_request=process_request) as server:
        with pytest.raises(SecurityError) as raised:
            connect(uri_of(server))
    assert str(raised.value) == "more than 10 redirects"
    assert isinstance(raised.value.__cause__, InvalidStatus)
    assert len(requests) == 10


def test_last_redirect_that_is_followed() -> None:
    process_request, requests = redirecting(*["/again"] * 9)
    with serving(echo, process_request=process_request) as server:
        connect(uri_of(server)).close()
    assert len(requests) == 10


@pytest.mark.parametrize("location", ["http://localhost/", "ws://[", "/a b"])
def test_redirect_to_nowhere(location: str) -> None:
    process_request, _ = redirecting(location)
    with serving(echo, process_request=process_request) as server:
        with pytest.raises(InvalidURI) as raised:
            connect(uri_of(server))
    assert isinstance(raised.value.__cause__, InvalidStatus)


def test_deadline_of_all_redirects() -> None:
    def process_request(ws: Any, request: Any) -> Any:
        gevent.sleep(0.6)
        response = ws.respond(302, "")
        response.headers["Location"] = "/again"
        return response

    # It strikes while the second answer is waited for, unless connecting takes 0.4 seconds; a
    # deadline for each redirect would end at the tenth.
    with serving(echo, process_request=process_request) as server:
        with pytest.raises(TimeoutError, match="timed out while waiting for handshake response"):
            connect(uri_of(server), open_timeout=1)


def test_no_redirect_with_a_socket_or_to_another_address() -> None:
    process_request, _ = redirecting("/same", "ws://example.org/", "/same", "ws://example.org/")
    with serving(echo, process_request=process_request) as server:
        uri = "ws://example.com/"
        with pytest.raises(ValueError, match="to ws://example.com/same with a preexisting socket"):
            connect(uri, sock=gevent.socket.create_connection(server.address))
        text = "cannot follow cross-origin redirect to ws://example.org/ with an explicit host"
        for _ in range(2):
            with pytest.raises(ValueError, match=text) as raised:
                connect(uri, address=server.address)
            assert isinstance(raised.value.__cause__, InvalidStatus)


def test_no_redirect_away_from_a_unix_socket(tmp_path: pathlib.Path) -> None:
    process_request, _ = redirecting("/same", "ws://example.org/")
    with unix_serve(echo, tmp_path / "socket", process_request=process_request):
        with pytest.raises(ValueError, match="to ws://example.org/ with a Unix socket"):
            unix_connect(tmp_path / "socket")


def test_slow_dns_in_a_thread_whose_hub_is_ours() -> None:
    # The look-up goes on in a thread of its own, when the hub is gone.
    def look_up() -> Any:
        try:
            connect("ws://slow.invalid/", open_timeout=0.1)
        except TimeoutError as exc:
            return str(exc), dns.answer.is_set(), get_hub_if_exists()

    with SlowDNS() as dns:
        text, answered, hub = in_thread(look_up)
        assert text == "timed out while looking up slow.invalid"
        assert not answered
        assert hub is None


def test_dns_in_a_thread_whose_hub_is_ours() -> None:
    def talk() -> Any:
        with pytest.raises(socket.gaierror):
            connect("ws://does-not-exist.invalid/")
        with connect(f"ws://localhost:{server.address[1]}/") as ws:
            ws.send("hello")
            answer = ws.recv()
        return answer, get_hub_if_exists()

    with serving(echo) as server:
        assert in_thread(talk) == ("hello", None)


def test_slow_dns() -> None:
    before = greenlets()
    with SlowDNS():
        with pytest.raises(TimeoutError) as raised:
            connect("ws://slow.invalid/", open_timeout=0.1)
    assert str(raised.value) == "timed out while looking up slow.invalid"
    check_no_greenlet_is_left(before)
