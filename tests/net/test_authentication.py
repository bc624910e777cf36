"""HTTP Basic authentication."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import gevent
import pytest

from geventws import basic_auth
from geventws.core.grammar import build_authorization_basic
from geventws.testing import RawClient
from tests.net.support import serving

CHALLENGE = 'Basic realm="staff", charset="UTF-8"'


def whoami(ws: Any) -> None:
    ws.send(ws.username)


def ask(auth: Any, *authorization: str) -> Any:
    """Return who one is with an ``Authorization`` header, or the response that refuses it."""
    headers = [("Authorization", value) for value in authorization]
    with serving(whoami, process_request=auth) as server:
        with RawClient(server.address, headers=headers) as peer:
            response = peer.response
            assert response is not None
            if response.status_code != 101:
                return response
            frame = peer.recv_frame()
            assert frame is not None
            return bytes(frame.data).decode()


ALICE = build_authorization_basic("alice", "secret")
ONE = ("alice", "secret")
SEVERAL = [("alice", "secret"), ("bob", "pässwörd")]


@pytest.mark.parametrize(
    "credentials", [ONE, list(ONE), SEVERAL, tuple(SEVERAL), iter(SEVERAL)], ids=itertools.count()
)
def test_valid_credentials(credentials: Any) -> None:
    assert ask(basic_auth("staff", credentials), ALICE) == "alice"


def test_password_beyond_ascii() -> None:
    auth = basic_auth("staff", SEVERAL)
    assert ask(auth, build_authorization_basic("bob", "pässwörd")) == "bob"
    assert ask(auth, build_authorization_basic("bob", "passw\udcf6rd")).status_code == 401


@pytest.mark.parametrize(
    "authorization, body",
    [
        ([], b"Missing credentials\n"),
        (["Bearer abc"], b"Unsupported credentials\n"),
        (["Basic ?"], b"Unsupported credentials\n"),
        (["Basic " + base64.b64encode(b"alice").decode()], b"Unsupported credentials\n"),
        # Two parsers may take different ones.
        ([ALICE, ALICE], b"Unsupported credentials\n"),
        ([build_authorization_basic("alice", "wrong")], b"Invalid credentials\n"),
        ([build_authorization_basic("alice", "")], b"Invalid credentials\n"),
        ([build_authorization_basic("mallory", "secret")], b"Invalid credentials\n"),
    ],
    ids=itertools.count(),
)
def test_refused_credentials(authorization: list[str], body: bytes) -> None:
    response = ask(basic_auth("staff", SEVERAL), *authorization)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == CHALLENGE
    assert response.body == body


def test_empty_realm() -> None:
    response = ask(basic_auth(credentials=ONE))
    assert response.headers["WWW-Authenticate"] == 'Basic realm="", charset="UTF-8"'


def test_a_function_that_waits() -> None:
    asked = []

    def check(username: str, password: str) -> bool:
        gevent.sleep(0.01)
        asked.append((username, password))
        return password == "secret"

    auth = basic_auth("staff", check_credentials=check)
    assert ask(auth, ALICE) == "alice"
    assert ask(auth, build_authorization_basic("alice", "wrong")).body == b"Invalid credentials\n"
    assert asked == [("alice", "secret"), ("alice", "wrong")]


def test_a_function_that_raises() -> None:
    def check(username: str, password: str) -> bool:
        raise OSError("the database is down")

    assert ask(basic_auth("staff", check_credentials=check), ALICE).status_code == 500


@pytest.mark.parametrize("arguments", [{}, {"credentials": ONE, "check_credentials": print}])
def test_both_or_neither(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="^provide either credentials or check_credentials$"):
        basic_auth("staff", **arguments)


@pytest.mark.parametrize(
    "credentials", [42, "alice:secret", ["alice"], [("alice", 1)], ("a", b"b")]
)
def test_wrong_credentials(credentials: Any) -> None:
    with pytest.raises(TypeError, match="^invalid credentials argument: ") as raised:
        basic_auth("staff", credentials)
    assert "secret" not in str(raised.value)
