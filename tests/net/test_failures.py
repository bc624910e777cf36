"""Every way in which opening a connection fails: the exception, its cause, and no leak."""

from __future__ import annotations

import pathlib
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from geventws import (
    InvalidProxy,
    InvalidProxyMessage,
    InvalidProxyStatus,
    InvalidStatus,
    InvalidURI,
    ProxyError,
    SecurityError,
    connect,
    unix_connect,
)
from geventws.testing import RawServer
from tests.net.support import (
    HOST,
    black_hole,
    check_no_greenlet_is_left,
    client_tls,
    echo,
    free_port,
    greenlets,
    server_tls,
    serving,
    uri_of,
)

# Seconds: what each of them gets, and what it may take on a busy machine.
TIMEOUT, PATIENCE = 1.0, 5.0


def refused() -> None:
    connect(f"ws://{HOST}:{free_port()}/", open_timeout=TIMEOUT)


def unknown_name() -> None:
    connect("ws://does-not-exist.invalid/", open_timeout=TIMEOUT)


def dead_address() -> None:
    with black_hole() as (host, port):
        connect(f"ws://{host}:{port}/", open_timeout=0.1)


def wrong_uri() -> None:
    connect("ws://localhost:port/")


def bad_certificate() -> None:
    with serving(echo, ssl=server_tls()) as server:
        connect(uri_of(server, "wss"), open_timeout=TIMEOUT)


def no_tls() -> None:
    with serving(echo) as server:
        connect(uri_of(server, "wss"), ssl=client_tls(), open_timeout=TIMEOUT)


def not_found() -> None:
    with serving(echo, process_request=lambda ws, request: ws.respond(404, "no\n")) as server:
        connect(uri_of(server), open_timeout=TIMEOUT)


def redirects(location: str, **options: Any) -> None:
    def process_request(ws: Any, request: Any) -> Any:
        response = ws.respond(302, "")
        response.headers["Location"] = location
        return response

    with serving(echo, process_request=process_request, **options) as server:
        scheme, tls = ("wss", client_tls()) if options else ("ws", None)
        connect(uri_of(server, scheme), ssl=tls, open_timeout=PATIENCE)


def redirect_loop() -> None:
    redirects("/")


def redirect_elsewhere() -> None:
    redirects("https://localhost/")


def downgrade() -> None:
    redirects("ws://localhost/", ssl=server_tls())


def wrong_proxy() -> None:
    connect("ws://localhost/", proxy="proxy.example.com")


def proxy_answers(answer: bytes | None, scheme: str = "http") -> None:
    """Connect through a proxy that answers this and closes, or, None, says nothing."""
    with RawServer() as proxy:

        def serve() -> None:
            with proxy.accept(open=False) as peer:
                peer.sock.recv(65536)
                if answer is not None:
                    peer.send_bytes(answer)
                    peer.sock.shutdown(1)
                peer.recv_eof()

        serving = gevent.spawn(serve)
        try:
            uri = f"{scheme}://{HOST}:{proxy.address[1]}"
            timeout = 0.1 if answer is None else TIMEOUT
            connect("ws://localhost/", proxy=uri, open_timeout=timeout)
        finally:
            # It has seen the end.
            serving.get(timeout=PATIENCE)


def proxy_refuses() -> None:
    proxy_answers(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")


def proxy_talks_nonsense() -> None:
    proxy_answers(b"\x15\x03\x03\x00\x02\x02\x28")


def proxy_says_nothing() -> None:
    proxy_answers(b"")


def proxy_waits() -> None:
    proxy_answers(None)


def socks_proxy_talks_nonsense() -> None:
    proxy_answers(b"HTTP/1.1 400 Bad Request\r\n\r\n", "socks5h")


def socks_proxy_waits() -> None:
    proxy_answers(None, "socks5h")


def no_socket() -> None:
    unix_connect(pathlib.Path(__file__), open_timeout=TIMEOUT)


def no_path() -> None:
    unix_connect("/does/not/exist", open_timeout=TIMEOUT)


def socket_without_server() -> None:
    connect("ws://localhost/", sock=gevent.socket.socket(), open_timeout=TIMEOUT)


FAILURES: list[tuple[Callable[[], None], type[Exception], type[Exception] | None]] = [
    (refused, ConnectionRefusedError, None),
    (unknown_name, socket.gaierror, None),
    (dead_address, TimeoutError, None),
    (wrong_uri, InvalidURI, ValueError),
    (bad_certificate, ssl.SSLCertVerificationError, None),
    (no_tls, ssl.SSLError, None),
    (not_found, InvalidStatus, None),
    (redirect_loop, SecurityError, InvalidStatus),
    (redirect_elsewhere, InvalidURI, InvalidStatus),
    (downgrade, SecurityError, InvalidStatus),
    (wrong_proxy, InvalidProxy, ValueError),
    (proxy_refuses, InvalidProxyStatus, None),
    (proxy_talks_nonsense, InvalidProxyMessage, ValueError),
    (proxy_says_nothing, InvalidProxyMessage, EOFError),
    (proxy_waits, TimeoutError, None),
    (socks_proxy_talks_nonsense, ProxyError, Exception),
    (socks_proxy_waits, TimeoutError, None),
    (no_socket, ConnectionRefusedError, None),
    (no_path, FileNotFoundError, None),
    (socket_without_server, OSError, None),
]


@pytest.mark.parametrize(
    "fail, exception, cause", FAILURES, ids=lambda value: getattr(value, "__name__", "")
)
def test_failure(
    fail: Callable[[], None], exception: type[Exception], cause: type[Exception] | None
) -> None:
    before = greenlets()
    started = time.monotonic()
    with pytest.raises(exception) as raised:
        fail()
    assert time.monotonic() - started < TIMEOUT + PATIENCE
    assert isinstance(raised.value.__cause__, cause or type(None))
    # That no descriptor is left is seen after the test.
    check_no_greenlet_is_left(before)
