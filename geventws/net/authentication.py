"""Authentication: HTTP Basic credentials for opening handshakes (RFC 7617)."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, TypeGuard

from geventws.core.exceptions import InvalidHeader
from geventws.core.grammar import (
    build_www_authenticate_basic,
    parse_authorization_basic,
    single_value,
)
from geventws.core.http11 import Request, Response
from geventws.net.server_opening import ProcessRequest

__all__ = ["basic_auth"]

Credentials = tuple[str, str]
CheckCredentials = Callable[[str, str], object]


def basic_auth(
    realm: str = "",
    credentials: Credentials | Iterable[Credentials] | None = None,
    check_credentials: CheckCredentials | None = None,
) -> ProcessRequest:
    """Make a ``process_request`` that asks for a username and a password.

    ::

        auth = geventws.basic_auth("staff", ("alice", "secret"))
        with geventws.serve(handler, "127.0.0.1", 8765, process_request=auth) as server:
            server.serve_forever()

    Without valid credentials the client gets a 401; with them, the handler finds
    ``ws.username``. They are readable for everybody on the way: use TLS.

    Args:
        realm: what the credentials are for, shown to users; ASCII.
        credentials: a pair of username and password, or several.
        check_credentials: called with username and password instead; returns whether they
            are valid, and may wait, for a database for instance.

    Raises:
        ValueError: both or neither of ``credentials`` and ``check_credentials`` are given.
        TypeError: the credentials are no pairs of strings.
    """
    if (credentials is None) == (check_credentials is None):
        raise ValueError("provide either credentials or check_credentials")
    check = check_credentials or _checker(credentials)
    challenge = build_www_authenticate_basic(realm)

    def process_request(ws: Any, request: Request) -> Response | None:
        complaint = "Missing credentials\n"
        if "Authorization" in request.headers:
            try:
                authorization = single_value(request.headers, "Authorization")
                username, password = parse_authorization_basic(authorization)
            except InvalidHeader:
                complaint = "Unsupported credentials\n"
            else:
                if check(username, password):
                    ws.username = username
                    return None
                complaint = "Invalid credentials\n"
        response: Response = ws.respond(HTTPStatus.UNAUTHORIZED, complaint)
        response.headers["WWW-Authenticate"] = challenge
        return response

    return process_request


def _is_pair(value: Any) -> TypeGuard[Credentials]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        return False
    return all(isinstance(part, str) for part in value)


def _checker(credentials: Any) -> CheckCredentials:
    """Make a function that checks credentials against known ones."""
    pairs = [credentials] if _is_pair(credentials) else credentials
    if isinstance(pairs, Iterable) and not isinstance(pairs, str):
        pairs = list(pairs)
        if all(map(_is_pair, pairs)):
            passwords = {username: _to_bytes(password) for username, password in pairs}
            return lambda username, password: _is_known(passwords, username, password)
    # Without the argument itself: it may hold passwords.
    raise TypeError(
        "invalid credentials argument: expected (username, password), two strings, or a list of "
        "such pairs"
    )


def _is_known(passwords: dict[str, bytes], username: str, password: str) -> bool:
    """Check a password, in the same time for every name, known or not."""
    given = _to_bytes(password)
    expected = passwords.get(username)
    matches = hmac.compare_digest(given if expected is None else expected, given)
    return matches and expected is not None


def _to_bytes(password: str) -> bytes:
    # Bytes that are not UTF-8 came as surrogate escapes.
    return password.encode(errors="surrogateescape")
