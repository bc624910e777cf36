"""We and `websockets`, by threads and by asyncio, as server and client of each other."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
import websockets.exceptions
from websockets.extensions import permessage_deflate as foreign_deflate

import geventws
from geventws.core import deflate_negotiation as our_deflate
from tests.interop.foreign import MESSAGES, TCP, TIMEOUT, Link, connected
from tests.interop.suite import CLOSINGS, COMBINATIONS, TEXT, answer, over_tcp_and_tls

# Less than `close_timeout`: no closing handshake may need that.
pytestmark = pytest.mark.deadline(9)

both_roles = pytest.mark.parametrize("role", ["server", "client"])


FRAGMENTED: list[list[Any]] = [
    ["one"],
    ["Grüße, ", "世界", " 🌍"],
    [b"a" * 70_000, b"", b"b"],
    ["", "after an empty one"],
]


@both_roles
@pytest.mark.parametrize("compression", ["deflate", None])
def test_messages(library: Any, role: str, link: Link, compression: str | None) -> None:
    """Whatever the road and the direction, messages arrive as they were sent."""
    options = {"compression": compression}
    with connected(library, role, link, ours=options, theirs=options) as (ws, peer):
        assert (peer.ws.protocol.extensions != []) is (compression == "deflate")
        for message in [*MESSAGES, "x" * 126, b"x" * 65535]:
            sending = gevent.spawn(ws.send, message)
            assert peer.recv() == message
            sending.get()
            sending = gevent.spawn(peer.send, message)
            assert ws.recv() == message
            sending.get()
        for fragments in FRAGMENTED:
            whole = fragments[0][:0].join(fragments)
            ws.send(fragments)
            assert peer.recv() == whole
            peer.send(fragments)
            assert ws.recv() == whole
        peer.ping()
        assert ws.ping().wait(TIMEOUT)


@both_roles
@pytest.mark.parametrize("compression", ["deflate", None])
def test_fragments(library: Any, role: str, compression: str | None) -> None:
    """Both sides see fragments cut where the other one cut them; an empty frame ends them."""
    options = {"compression": compression}
    with connected(library, role, ours=options, theirs=options) as (ws, peer):
        ws.send(["Grü", "ße"])
        assert "".join(peer.recv_fragments()) == "Grüße"
        peer.send(["Grü", "ße"])
        fragments = list(ws.recv_streaming())
        assert [fragment for fragment in fragments if fragment] == ["Grü", "ße"]


@both_roles
@over_tcp_and_tls
@pytest.mark.deadline(60)
@pytest.mark.parametrize("asking", ["server", "client"])
def test_compression(library: Any, role: str, link: Link, asking: str) -> None:
    """What either side asks for is agreed upon and obeyed; a few times over TLS."""
    modules = {"server": our_deflate, "client": foreign_deflate}
    if role == "client":
        modules = {"server": foreign_deflate, "client": our_deflate}
    for settings in COMBINATIONS[-2:] if link.client_ssl else COMBINATIONS:
        server, client = (settings, {}) if asking == "server" else ({}, settings)
        # Where it asks for no window, the client lets the server choose.
        client = {**client, "client_max_window_bits": client.get("client_max_window_bits") or True}
        factories = {
            "server": modules["server"].ServerPerMessageDeflateFactory(**server),
            "client": modules["client"].ClientPerMessageDeflateFactory(**client),
        }
        ours = {"extensions": [factories.pop(role)]}
        theirs = {"extensions": list(factories.values())}
        with connected(library, role, link, ours, theirs) as (ws, peer):
            name, *parameters = ws.response.headers["Sec-WebSocket-Extensions"].split("; ")
            assert name == "permessage-deflate"
            assert set(parameters) == answer(**settings)
            (extension,) = peer.ws.protocol.extensions
            assert vars(extension).items() >= agreed(role, **settings).items()
            for text in TEXT, "", TEXT[-300:]:
                ws.send(text)
                assert peer.recv() == text
                peer.send(text)
                assert ws.recv() == text


def agreed(role: str, **settings: Any) -> dict[str, Any]:
    """Return the attributes that the extension of `websockets` must have."""
    attributes = {}
    for name, value in settings.items():
        side, _, parameter = name.partition("_")
        seen = "remote" if side == role else "local"
        attributes[f"{seen}_{parameter}"] = 15 if value is None else value
    return attributes


@both_roles
@over_tcp_and_tls
@pytest.mark.parametrize(("code", "reason"), CLOSINGS, ids=lambda value: str(value)[:8])
def test_we_close(library: Any, role: str, link: Link, code: int, reason: str) -> None:
    with connected(library, role, link) as (ws, peer):
        ws.close(code, reason)
        assert peer.wait_closed() == (code, reason)
        assert (ws.close_code, ws.close_reason) == (code, reason)


@both_roles
@over_tcp_and_tls
@pytest.mark.parametrize(("code", "reason"), CLOSINGS, ids=lambda value: str(value)[:8])
def test_they_close(library: Any, role: str, link: Link, code: int, reason: str) -> None:
    with connected(library, role, link) as (ws, peer):
        peer.send("last words")
        peer.close(code, reason)
        assert peer.wait_closed() == (code, reason)
        assert ws.recv() == "last words"
        with pytest.raises(geventws.ConnectionClosed) as caught:
            ws.recv()
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (code, reason)
        assert isinstance(caught.value, geventws.ConnectionClosedOK) is (code in (1000, 1001))


@both_roles
def test_both_close_at_once(library: Any, role: str) -> None:
    with connected(library, role) as (ws, peer):
        closing = gevent.spawn(peer.close, 4001, "theirs")
        ws.close(4002, "ours")
        closing.get(timeout=TIMEOUT)
        assert ws.close_code in (4001, 4002)
        assert peer.wait_closed()[0] in (4001, 4002)


@both_roles
def test_a_message_that_is_too_big(library: Any, role: str) -> None:
    with connected(library, role, ours={"max_size": 100}) as (ws, peer):
        peer.send("x" * 101)
        assert peer.wait_closed()[0] == 1009
        assert ws.wait_closed(TIMEOUT)


@both_roles
def test_a_message_that_is_too_big_for_them(library: Any, role: str) -> None:
    with connected(library, role, theirs={"max_size": 100}) as (ws, peer):
        ws.send("x" * 101)
        with pytest.raises(geventws.ConnectionClosedError) as caught:
            ws.recv()
        assert caught.value.rcvd.code == 1009


@both_roles
def test_subprotocols(library: Any, role: str) -> None:
    server, client = {"subprotocols": ["b", "c"]}, {"subprotocols": ["a", "c", "b"]}
    ours, theirs = (server, client) if role == "server" else (client, server)
    with connected(library, role, ours=ours, theirs=theirs) as (ws, peer):
        assert ws.subprotocol == peer.ws.subprotocol
        assert ws.subprotocol in ("b", "c")


@both_roles
def test_headers(library: Any, role: str) -> None:
    """Both sides see what the other one adds to the opening handshake."""

    def answer(connection: Any, request: Any, response: Any) -> None:
        response.headers["X-Answer"] = request.headers["X-Question"]

    server = {"process_response": answer, "server_header": "a server"}
    client = {
        "additional_headers": [("X-Question", "why"), ("Cookie", "a=b")],
        "origin": "https://example.org",
        "user_agent_header": "a client",
    }
    ours, theirs = (server, client) if role == "server" else (client, server)
    with connected(library, role, ours=ours, theirs=theirs) as (ws, peer):
        for end in ws, peer.ws:
            assert end.request.headers["X-Question"] == "why"
            assert end.request.headers["Cookie"] == "a=b"
            assert end.request.headers["Origin"] == "https://example.org"
            assert end.request.headers["User-Agent"] == "a client"
            assert end.response.headers["X-Answer"] == "why"
            assert end.response.headers["Server"] == "a server"


def refuse(connection: Any, request: Any) -> Any:
    """Answer every request with the status that its path names."""
    return connection.respond(int(request.path[1:]), "no\n")


@pytest.mark.parametrize("status", [401, 404])
def test_they_reject_us(library: Any, status: int) -> None:
    with library.serve(TCP, process_request=refuse) as server:
        with pytest.raises(geventws.InvalidStatus) as caught:
            Link(resource=f"/{status}").connect(server.port)
        assert caught.value.response.status_code == status
        assert caught.value.response.body == b"no\n"


@pytest.mark.parametrize("status", [401, 404])
def test_we_reject_them(library: Any, status: int) -> None:
    with geventws.serve(lambda ws: None, "127.0.0.1", 0, process_request=refuse) as server:
        with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
            library.connect(Link(resource=f"/{status}"), server.address[1])
        assert caught.value.response.status_code == status
        assert caught.value.response.body == b"no\n"


@both_roles
def test_keepalive(library: Any, role: str) -> None:
    """Both sides ping each other many times in a second, and the connection stays."""
    options = {"ping_interval": 0.05, "ping_timeout": TIMEOUT}
    with connected(library, role, ours=options, theirs=options) as (ws, peer):
        with pytest.raises(TimeoutError):
            ws.recv(timeout=1)
        assert ws.latency > 0
        assert peer.ws.latency > 0
        ws.send("still here")
        assert peer.recv() == "still here"


def test_our_server_goes_away(library: Any) -> None:
    def handler(ws: Any) -> None:
        ws.send("welcome")
        ws.wait_closed()

    with TCP.serve(handler) as server:
        peers = [library.connect(TCP, server.address[1]) for _ in range(3)]
        assert [peer.recv() for peer in peers] == ["welcome"] * 3
        server.shutdown(reason="lunch")
        assert [peer.wait_closed() for peer in peers] == [(1001, "lunch")] * 3


def test_their_server_goes_away(library: Any) -> None:
    with library.serve(TCP) as server, TCP.connect(server.port) as ws:
        server.accept()
        stopping = gevent.spawn(server.stop)
        with pytest.raises(geventws.ConnectionClosedOK) as caught:
            ws.recv()
        assert caught.value.rcvd.code == 1001
        stopping.get(timeout=TIMEOUT)
