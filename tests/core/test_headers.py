"""Tests of geventws.core.headers."""

from __future__ import annotations

from typing import Any

import pytest

from geventws.core.headers import Headers, MultipleValuesError


@pytest.fixture
def headers() -> Headers:
    return Headers([("Host", "localhost"), ("X-Tag", "one"), ("Server", "s"), ("x-tag", "two")])


@pytest.mark.parametrize(
    "source",
    [
        Headers([("Host", "localhost"), ("X-A", "1")]),
        {"Host": "localhost", "X-A": "1"},
        [("Host", "localhost"), ("X-A", "1")],
        iter([("Host", "localhost"), ("X-A", "1")]),
    ],
)
def test_made_of(source: Any) -> None:
    assert list(Headers(source).raw_items()) == [("Host", "localhost"), ("X-A", "1")]


def test_made_of_keywords() -> None:
    assert list(Headers({"a": "1"}, Host="h").raw_items()) == [("a", "1"), ("Host", "h")]


def test_names_are_case_insensitive(headers: Headers) -> None:
    assert headers["Host"] == headers["HOST"] == headers["host"] == "localhost"
    assert "hOST" in headers
    assert "Cookie" not in headers
    assert 1 not in headers  # type: ignore[comparison-overlap]


def test_missing_header(headers: Headers) -> None:
    with pytest.raises(KeyError):
        headers["Cookie"]
    assert headers.get("Cookie") is None
    assert headers.get_all("Cookie") == []


def test_repeated_header(headers: Headers) -> None:
    with pytest.raises(MultipleValuesError, match="X-Tag is there several times; use get_all"):
        headers["X-Tag"]
    with pytest.raises(LookupError):
        headers.get("X-Tag")
    assert headers.get_all("X-TAG") == ["one", "two"]


def test_multiple_values_is_not_missing() -> None:
    assert not issubclass(MultipleValuesError, KeyError)
    assert "header is there several times" in str(MultipleValuesError())


def test_get_all_gives_a_list_of_its_own(headers: Headers) -> None:
    headers.get_all("Host").append("elsewhere")
    assert headers.get_all("Host") == ["localhost"]


def test_order_and_spelling_are_kept(headers: Headers) -> None:
    text = "Host: localhost\r\nX-Tag: one\r\nServer: s\r\nx-tag: two\r\n\r\n"
    assert str(headers) == text
    assert headers.serialize() == text.encode()


def test_iteration_gives_each_name_once(headers: Headers) -> None:
    assert list(headers) == ["host", "x-tag", "server"]
    assert len(headers) == 3


@pytest.mark.parametrize("look_up_first", [False, True])
def test_setting_adds(headers: Headers, look_up_first: bool) -> None:
    if look_up_first:
        assert headers.get_all("Host") == ["localhost"]
    headers["HOST"] = "elsewhere"
    assert headers.get_all("Host") == ["localhost", "elsewhere"]
    assert list(headers.raw_items())[-1] == ("HOST", "elsewhere")


def test_deleting_removes_all(headers: Headers) -> None:
    del headers["X-TAG"]
    assert headers.get_all("x-tag") == []
    assert list(headers.raw_items()) == [("Host", "localhost"), ("Server", "s")]
    with pytest.raises(KeyError):
        del headers["X-Tag"]


def test_setdefault_and_pop(headers: Headers) -> None:
    assert headers.setdefault("host", "elsewhere") == "localhost"
    assert headers.setdefault("Cookie", "c") == "c"
    assert headers.pop("COOKIE") == "c"
    assert headers.pop("Cookie", "none") == "none"


def test_update_adds(headers: Headers) -> None:
    headers.update(Headers([("A", "1"), ("a", "2")]), B="3")
    assert list(headers.raw_items())[-3:] == [("A", "1"), ("a", "2"), ("B", "3")]
    headers.update({"C": "4"})
    assert headers["c"] == "4"


def test_update_with_itself(headers: Headers) -> None:
    headers.update(headers)
    assert headers.get_all("Host") == ["localhost", "localhost"]


def test_clear(headers: Headers) -> None:
    assert "Host" in headers
    headers.clear()
    assert not headers
    assert str(headers) == "\r\n"


def test_copy_is_independent(headers: Headers) -> None:
    copy = headers.copy()
    assert copy == headers
    copy["New"] = "1"
    del copy["Host"]
    assert "New" not in headers
    assert headers["Host"] == "localhost"


def test_equality_ignores_case_of_names_only() -> None:
    assert Headers(Host="a") == Headers(HOST="a")
    assert Headers(Host="a") != Headers(Host="A")
    assert Headers(Host="a") != {"host": "a"}


def test_repr(headers: Headers) -> None:
    assert repr(Headers(Host="h")) == "Headers([('Host', 'h')])"


@pytest.mark.parametrize(
    "name", ["", "a b", "a:", "a\r\n", "a\n", "\x00", "é", "a\x7f", "(a)", "Host ", " Host"]
)
def test_invalid_name(name: str) -> None:
    headers = Headers()
    with pytest.raises(ValueError, match="invalid header name"):
        headers[name] = "value"
    assert not headers


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\n", "a\r", "\x00", "\x1f", "\x7f", "€", "a\n b"])
def test_invalid_value(value: str) -> None:
    headers = Headers()
    with pytest.raises(ValueError, match="invalid value for header X-A"):
        headers["X-A"] = value
    with pytest.raises(ValueError, match="invalid value for header X-A"):
        Headers([("X-A", value)])
    assert not headers


def test_value_is_iso_8859_1() -> None:
    assert Headers([("X-A", "\té ÿ~")]).serialize() == b"X-A: \t\xe9 \xff~\r\n\r\n"


def test_common_names_are_shared() -> None:
    name = "".join(["sec-websocket", "-key"])
    first, second = Headers([(name, "1")]), Headers([("".join(["sec-websocket-", "key"]), "2")])
    assert next(first.raw_items())[0] is next(second.raw_items())[0]


def test_one_list_holds_everything_until_the_first_look_up(headers: Headers) -> None:
    assert headers._index is None
    str(headers)
    assert headers._index is None
    headers.get_all("Host")
    assert headers._index is not None
