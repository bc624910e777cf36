"""Redirects: where they lead, and what they must not take along."""

from __future__ import annotations

import pytest

from geventws.core.exceptions import InvalidURI, SecurityError
from geventws.core.headers import Headers
from geventws.core.http11 import Response
from geventws.core.redirects import Target, location_of

PRIVATE = {
    "Authorization": "Bearer token",
    "cookie": "session=1",
    "Host": "virtual.example",
    "Proxy-Authorization": "Basic eA==",
}


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_location(status: int) -> None:
    assert location_of(Response(status, "", Headers(Location="/other"))) == "/other"


@pytest.mark.parametrize(
    "status, headers",
    [
        (302, []),
        (302, [("Location", "/one"), ("Location", "/two")]),
        (200, [("Location", "/other")]),
        (304, [("Location", "/other")]),
        (404, [("Location", "/other")]),
    ],
)
def test_no_location(status: int, headers: list[tuple[str, str]]) -> None:
    assert location_of(Response(status, "", Headers(headers))) is None


@pytest.mark.parametrize(
    "uri, location, expected",
    [
        ("ws://a/b/c?d", "/e", "ws://a/e"),
        ("ws://a/b/c?d", "e?f", "ws://a/b/e?f"),
        ("ws://a/b", "", "ws://a/b"),
        ("ws://a:8000/b", "//c/d", "ws://c/d"),
        ("ws://a/b", "ws://c:9000/d", "ws://c:9000/d"),
        ("ws://a/b", "wss://a/b", "wss://a/b"),
        ("ws://user:password@a/b", "/c", "ws://user:password@a/c"),
        ("ws://user:password@a/b", "ws://c/d", "ws://c/d"),
    ],
)
def test_redirect(uri: str, location: str, expected: str) -> None:
    redirected = Target.parse(uri).redirect(location)
    assert redirected == Target.parse(expected)


@pytest.mark.parametrize(
    "location, same",
    [
        ("/b", True),
        ("ws://a/b", True),
        ("ws://A:80/b", True),
        ("ws://a:81/b", False),
        ("ws://b/b", False),
        ("ws://a.b/b", False),
        ("wss://a/b", False),
        ("wss://a:80/b", False),
    ],
)
def test_headers_of_one_origin(location: str, same: bool) -> None:
    target = Target.parse("ws://a/", {**PRIVATE, "X-Own": "1"})
    redirected = target.redirect(location)
    assert target.same_origin(redirected) is same
    names = [name for name, _ in redirected.headers.raw_items()]
    assert names == ([*PRIVATE, "X-Own"] if same else ["X-Own"])
    # Another redirect starts from there.
    assert len(target.headers) == 5


@pytest.mark.parametrize("location", ["ws://a/", "ws://b/", "ws://a:443/", "ws://a/\xad"])
def test_no_redirect_gives_up_tls(location: str) -> None:
    with pytest.raises(SecurityError) as raised:
        Target.parse("wss://a/").redirect(location)
    shown = location.replace("\xad", r"\xad")
    assert str(raised.value) == f"cannot follow redirect to non-secure URI {shown}"


@pytest.mark.parametrize(
    "location", ["http://a/", "https://a/", "ws://[", "/a#b", "ws://a:x/", "/a b"]
)
def test_redirect_to_something_else(location: str) -> None:
    with pytest.raises(InvalidURI):
        Target.parse("ws://a/").redirect(location)


def test_headers_are_checked_and_kept() -> None:
    pairs = iter([("X-Own", "1")])
    target = Target.parse("ws://a/", pairs)
    assert target.redirect("/b").headers["X-Own"] == "1"
    assert target.redirect("/b").headers["X-Own"] == "1"
    with pytest.raises(ValueError, match="X"):
        Target.parse("ws://a/", {"X": "a\r\nb"})
