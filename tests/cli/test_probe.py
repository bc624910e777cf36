"""Tests of geventws.cli.probe: each step of connecting, and how it can fail."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from geventws import CloseCode, ServerConnection
from geventws.cli.options import add_client_options, client_options
from geventws.cli.probe import probe
from geventws.cli.report import Report
from geventws.core.frames import Opcode
from geventws.testing import RawPeer, RawServer
from tests.cli.support import pem_files
from tests.net.proxies import running, tinyproxy
from tests.net.support import HOST, PATIENCE, echo, server_tls, serving, uri_of


def examine(
    capsys: pytest.CaptureFixture[str], uri: str, *options: str, problems: int = 0
) -> list[str]:
    """Examine a connection, which has so many problems; return the lines."""
    parser = argparse.ArgumentParser()
    parser.add_argument("uri")
    add_client_options(parser)
    report = Report()
    probe(uri, client_options(parser.parse_args([uri, *options])), report)
    output, errors = capsys.readouterr()
    assert (report.problems, errors) == (problems, ""), output
    return output.splitlines()


def steps(lines: list[str]) -> dict[str, str]:
    """What was told of each step, without the time."""
    found = (re.fullmatch(r"(\w+) {2,}(.*?)(?: +\d+\.\d ms)?", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


def test_connection_that_works(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(echo, compression="deflate", subprotocols=["chat"]) as server:
        lines = examine(capsys, uri_of(server), "--subprotocol", "chat")
        port = server.address[1]
    found = steps(lines)
    assert list(found) == ["DNS", "TCP", "HTTP", "extensions", "subprotocol", "ping", "close"]
    assert found["DNS"] == "127.0.0.1"
    assert found["TCP"] == f"connected to 127.0.0.1 port {port}"
    assert found["HTTP"].startswith("101 Switching Protocols, from ")
    assert found["extensions"].startswith("permessage-deflate; ")
    assert found["subprotocol"] == "chat"
    assert re.fullmatch(r"\d+\.\d ms, the best of 3", found["ping"])
    assert found["close"] == "1000 (OK)"
    timed = [line.split()[0] for line in lines if re.search(r"\d+\.\d ms$", line)]
    assert timed == ["DNS", "TCP", "HTTP", "ping", "close"]


def test_what_was_not_negotiated(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(echo) as server:
        found = steps(examine(capsys, uri_of(server), "--subprotocol", "chat"))
        assert found["extensions"].startswith("none: the server does not compress, or a proxy")
        assert found["subprotocol"] == "none of chat"
        found = steps(examine(capsys, uri_of(server), "--no-compression"))
        assert (found["extensions"], found["subprotocol"]) == ("none", "none")


def test_tls(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(echo, ssl=server_tls()) as server, pem_files() as (authority, _, _):
        uri = uri_of(server, "wss")
        found = steps(examine(capsys, uri, "--cafile", authority))
        assert re.match(r"TLSv1\.\d, \w+, certificate valid until ", found["TLS"])
        found = steps(examine(capsys, uri, "--insecure"))
        assert found["TLS"].endswith("certificate not verified")
        found = steps(examine(capsys, uri, problems=1))
        assert found["TLS"].startswith("FAILED: ") and "certificate" in found["TLS"]
        found = steps(examine(capsys, uri_of(server, "ws"), "--open-timeout", "2", problems=1))
        assert found["HTTP"].startswith("FAILED: did not receive a valid HTTP response")


def test_first_address_that_answers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a name that has an IPv6 address nobody listens at."""
    real = gevent.socket.getaddrinfo

    def getaddrinfo(host: str, *args: Any, **options: Any) -> list[Any]:
        hosts = ["127.0.0.2", "127.0.0.1"] if host == "two.invalid" else [host]
        return [info for host in hosts for info in real(host, *args, **options)]

    monkeypatch.setattr(gevent.socket, "getaddrinfo", getaddrinfo)
    with serving(echo) as server:
        lines = examine(capsys, f"ws://two.invalid:{server.address[1]}/")
    tcp = [line for line in lines if line.startswith("TCP")]
    assert "127.0.0.2 does not answer: " in tcp[0] and "connected to 127.0.0.1" in tcp[1]


def test_proxy(capsys: pytest.CaptureFixture[str]) -> None:
    with running(tinyproxy) as port, serving(echo, compression="deflate") as server:
        proxy = f"http://user:secret@{HOST}:{port}"
        lines = examine(capsys, uri_of(server), "--proxy", proxy)
        found = steps(lines)
        # The password is nobody's business.
        assert found["proxy"] == f"http://{HOST}:{port}"
        assert found["tunnel"] == f"open to {HOST} port {server.address[1]}"
        assert list(found) == [
            *("proxy", "tunnel", "HTTP", "extensions", "subprotocol", "ping", "close")
        ]
        lines = examine(capsys, "ws://127.0.0.1:1/", "--proxy", proxy, problems=1)
        assert steps(lines)["tunnel"].startswith("FAILED: proxy rejected connection: HTTP 50")
        assert "The proxy opens no tunnel to 127.0.0.1 port 1." in " ".join(" ".join(lines).split())
    lines = examine(capsys, "ws://localhost/", "--proxy", proxy, problems=1)
    assert steps(lines)["tunnel"].startswith("FAILED: ")
    assert f"Nothing listens on port {port} there" in " ".join(" ".join(lines).split())
    assert "FAILED: ftp:" in examine(capsys, "ws://localhost/", "--proxy", "ftp://x", problems=1)[0]


@pytest.mark.parametrize(
    ("uri", "step", "error", "advice"),
    [
        ("http://localhost/", "URI", "scheme isn't ws or wss", "Write it as"),
        ("ws://nowhere.invalid/", "DNS", "", "spelling of nowhere.invalid"),
        ("ws://127.0.0.1:1/", "TCP", "Connection refused", "Nothing listens on port 1"),
    ],
)
def test_failure_before_the_server(
    uri: str, step: str, error: str, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = examine(capsys, uri, problems=1)
    failed = steps(lines)[step]
    assert failed.startswith("FAILED: ") and error in failed
    assert advice in " ".join(line.strip() for line in lines)


def test_response_that_opens_no_websocket(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(ws: ServerConnection, request: Any) -> Any:
        return ws.respond(int(request.path[1:]), "Not\x1b here.\n")

    with serving(echo, process_request=refuse) as server:
        for status, advice in (200, "An ordinary page"), (404, "no such path"), (503, "restarting"):
            lines = examine(capsys, f"{uri_of(server)}{status}", problems=1)
            assert re.match(rf"FAILED: HTTP {status} \w.*: Not\\x1b here\.", steps(lines)["HTTP"])
            assert advice in " ".join(line.strip() for line in lines)


def lose_upgrade(peer: RawPeer, server: RawServer) -> None:
    """Answer as a server does behind a proxy that drops the Connection header."""
    server.recv_request(peer)
    body = b"Failed to open a WebSocket connection: missing Connection header.\n"
    head = b"HTTP/1.1 426 Upgrade Required\r\nVia: 1.1 proxy\r\nContent-Length: %d\r\n\r\n"
    peer.send_bytes(head % len(body) + body)


def say_nothing(peer: RawPeer, server: RawServer) -> None:
    server.recv_request(peer)
    peer.recv_eof()


def answer_no_pings(peer: RawPeer, server: RawServer) -> None:
    open_websocket(peer, server)
    while (frame := peer.recv_frame()) is not None and frame.opcode is not Opcode.CLOSE:
        pass
    peer.send_frame(Opcode.CLOSE, b"\x03\xe8")


def close_by_tcp(peer: RawPeer, server: RawServer) -> None:
    open_websocket(peer, server)
    while (frame := peer.recv_frame()) is not None and frame.opcode is not Opcode.CLOSE:
        peer.send_frame(Opcode.PONG, frame.data)


def refuse_later(peer: RawPeer, server: RawServer) -> None:
    open_websocket(peer, server)
    peer.send_frame(Opcode.CLOSE, b"\x03\xf0who are you?")
    peer.recv_close()


def be_done(peer: RawPeer, server: RawServer) -> None:
    open_websocket(peer, server)
    peer.send_frame(Opcode.CLOSE, int.to_bytes(CloseCode.GOING_AWAY, 2))
    peer.recv_close()


def open_websocket(peer: RawPeer, server: RawServer) -> None:
    peer.send_bytes(server.response(server.recv_request(peer)))


@pytest.mark.parametrize(
    ("play", "step", "text", "advice"),
    [
        (lose_upgrade, "HTTP", "FAILED: HTTP 426 Upgrade Required: ", "good Connection header"),
        (say_nothing, "HTTP", "FAILED: timed out while waiting for handshake", "--open-timeout"),
        (answer_no_pings, "ping", "FAILED: no pong came back", "keepalive"),
        (close_by_tcp, "close", "FAILED: no close frame came back", "cuts TCP"),
        (refuse_later, "ping", "FAILED: received 1008 (policy violation) who are you?", "1008"),
        (be_done, "ping", "the server is done already: received 1001 (going away)", None),
    ],
)
def test_server_that_is_ill(
    play: Callable[[RawPeer, RawServer], None],
    step: str,
    text: str,
    advice: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with RawServer() as server:

        def serve() -> None:
            with server.accept(open=False) as peer:
                play(peer, server)

        playing = gevent.spawn(serve)
        options = ["--open-timeout", "0.3", "--ping-timeout", "0.3", "--no-compression"]
        lines = examine(capsys, server.uri, *options, problems=0 if advice is None else 1)
        playing.get(timeout=PATIENCE)
    assert steps(lines)[step].startswith(text), lines
    if advice is not None:
        assert advice in " ".join(line.strip() for line in lines)
