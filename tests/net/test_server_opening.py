"""A server's settings for opening handshakes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from geventws import InvalidMethod, InvalidStatus, connect
from geventws.core.server_handshake import ServerHandshake
from geventws.net.server_opening import ServerOpening
from geventws.testing import RawClient
from tests.net.support import echo, serving, uri_of


def test_responses_have_date_and_server() -> None:
    opening = ServerOpening(ServerHandshake(), server_header="test")
    for response in (
        opening.refuse(InvalidMethod("POST")),
        opening.unavailable(),
        opening.unavailable("Too many connections.\n"),
    ):
        assert response.headers["Server"] == "test"
        assert response.headers["Date"].endswith("GMT")


ORIGINS = ["https://example.com", re.compile(r"https://[a-z]+\.example\.com"), None]


@pytest.mark.parametrize(
    "origin, accepted",
    [
        ("https://example.com", True),
        ("https://shop.example.com", True),
        (None, True),
        ("https://shop.example.com.evil.org", False),
        ("http://shop.example.com", False),
        ("https://example.org", False),
    ],
)
def test_origins(origin: Any, accepted: bool) -> None:
    handled = []

    def handler(ws: Any) -> None:
        handled.append(ws.request.headers.get("Origin"))
        echo(ws)

    with serving(handler, origins=ORIGINS) as server:
        if accepted:
            connect(uri_of(server), origin=origin).close()
        else:
            with pytest.raises(InvalidStatus) as raised:
                connect(uri_of(server), origin=origin)
            assert raised.value.response.status_code == 403
    assert handled == ([origin] if accepted else [])


@pytest.mark.parametrize("good", [0, 1])
def test_several_origins(good: int) -> None:
    """A good one does not help."""
    origins = ["https://evil.org"] * 2
    origins[good] = "https://example.com"
    handled: list[Any] = []
    request = RawClient.request([("Origin", origin) for origin in origins])
    with serving(handled.append, origins=ORIGINS) as server:
        with RawClient(server.address, open=False) as peer:
            peer.send_bytes(request)
            assert peer.recv_response().status_code == 400
    assert handled == []
