"""Tests of geventws.core.head; its limits are tested with the readers, in test_http11."""

from __future__ import annotations

import pytest

from geventws.core.head import parse_head, show
from geventws.core.headers import WELL_KNOWN_NAMES


def test_parse_head() -> None:
    first_line, headers = parse_head(
        b"first line\r\n"
        b"Host: h\r\nX-Empty:\r\nX-Space: \t a b \t\r\nX-Latin: \xe9\r\nhost:2\r\n\r\n"
    )
    assert first_line == "first line"
    assert list(headers.raw_items()) == [
        ("Host", "h"),
        ("X-Empty", ""),
        ("X-Space", "a b"),
        ("X-Latin", "é"),
        ("host", "2"),
    ]


def test_parse_head_without_headers() -> None:
    first_line, headers = parse_head(b"first line\r\n\r\n")
    assert first_line == "first line"
    assert len(headers) == 0


def test_common_names_are_shared() -> None:
    _, headers = parse_head(b"x\r\nsec-websocket-key: y\r\n\r\n")
    assert next(headers.raw_items())[0] is WELL_KNOWN_NAMES["sec-websocket-key"]


@pytest.mark.parametrize(
    "head, message",
    [
        (b"", "doesn't end with a blank line"),
        (b"\r\n", "doesn't end with a blank line"),
        (b"x\r\nA: b\r\n", "doesn't end with a blank line"),
        (b"x\r\n\r\nA: b", "doesn't end with a blank line"),
        (b"x\r\n\r\nA: b\r\n\r\n", "invalid HTTP header line: "),
        (b"x\r\nHost\r\n\r\n", "invalid HTTP header line: Host"),
        (b"x\r\nA : b\r\n\r\n", "invalid HTTP header name: A "),
        (b"x\r\n: b\r\n\r\n", "invalid HTTP header name: "),
        (b"x\r\nA: b\r\n c: d\r\n\r\n", "invalid HTTP header name:  c"),
        (b"x\r\nA: b\r\n\tc: d\r\n\r\n", "invalid HTTP header name: \\tc"),
        (b"x\r\nA: b\r\n folded\r\n\r\n", "invalid HTTP header line:  folded"),
        (b"x\r\nA(b): c\r\n\r\n", "invalid HTTP header name: A(b)"),
        (b"x\r\n\xe9: c\r\n\r\n", "invalid HTTP header name: \\xe9"),
        (b"x\r\nA: b\x00\r\n\r\n", "invalid HTTP header value: b\\x00"),
        (b"x\r\nA: b\nC: d\r\n\r\n", "invalid HTTP header value: b\\nC: d"),
        (b"x\r\nA: b\rC: d\r\n\r\n", "invalid HTTP header value: b\\rC: d"),
        (b"x\r\nA: \rb\n\r\n\r\n", "invalid HTTP header value: b"),
        (b"x\x7f\r\nA: b\r\n\r\n", "invalid HTTP start line: x\\x7f"),
        (b"x\r\n\xff\x00" + b"y" * 200 + b"\r\n\r\n", "invalid HTTP header value: "),
    ],
)
def test_invalid_head(head: bytes, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        parse_head(head)
    assert message in str(raised.value)


def test_show_is_fit_for_logs() -> None:
    assert show("a\r\n! forged\x1b[31m") == "a\\r\\n! forged\\x1b[31m"
    assert len(show("x" * 10_000)) == 100
