"""Tests of geventws.cli.options: from the command line to the arguments of `connect`."""

from __future__ import annotations

import argparse
import logging
import ssl
from typing import Any

import pytest

from geventws.cli.options import add_client_options, client_options, log_shown, seconds, size
from tests.cli.support import pem_files


def parse(*arguments: str, uri: str = "ws://localhost/") -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    parser.add_argument("uri")
    add_client_options(parser)
    return client_options(parser.parse_args([uri, *arguments]))


def test_defaults_are_those_of_connect() -> None:
    assert parse() == {
        "additional_headers": [],
        "close_timeout": 10,
        "compression": "deflate",
        "max_size": 2**20,
        "open_timeout": 10,
        "origin": None,
        "ping_interval": 20,
        "ping_timeout": 20,
        "proxy": True,
        "ssl": None,
        "subprotocols": None,
    }


def test_values() -> None:
    options = parse(
        *("-H", "Cookie: a=b:c", "--header", "X-Empty:", "--origin", "http://localhost"),
        *("--subprotocol", "chat", "--subprotocol", "superchat", "--no-compression"),
        *("--open-timeout", "1.5", "--ping-interval", "inf", "--ping-timeout", "inf"),
        *("--max-size", "inf", "--close-timeout", "0", "--proxy", "http://localhost:3128"),
    )
    assert options == {
        "additional_headers": [("Cookie", "a=b:c"), ("X-Empty", "")],
        "close_timeout": 0,
        "compression": None,
        "max_size": None,
        "open_timeout": 1.5,
        "origin": "http://localhost",
        "ping_interval": None,
        "ping_timeout": None,
        "proxy": "http://localhost:3128",
        "ssl": None,
        "subprotocols": ["chat", "superchat"],
    }


def test_no_proxy() -> None:
    assert parse("--no-proxy")["proxy"] is None


def test_tls() -> None:
    context = parse(uri="wss://localhost/")["ssl"]
    assert context.check_hostname and context.verify_mode is ssl.CERT_REQUIRED
    context = parse("--insecure", uri="WSS://localhost/")["ssl"]
    assert not context.check_hostname and context.verify_mode is ssl.CERT_NONE
    with pem_files() as (authority, _, _):
        context = parse("--cafile", authority, uri="wss://localhost/")["ssl"]
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize(("text", "value"), [("0", 0.0), ("1.5", 1.5), ("inf", None)])
def test_seconds(text: str, value: float | None) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("1048576", 2**20), ("inf", None)])
def test_size(text: str, value: int | None) -> None:
    assert size(text) == value


@pytest.mark.parametrize(
    ("option", "text", "error"),
    [
        ("--open-timeout", "soon", "soon is no number of seconds; give one, or inf"),
        ("--open-timeout", "nan", "nan is no number of seconds; give one, or inf"),
        ("--close-timeout", "-1", "-1 is no number of seconds; give one, or inf"),
        ("--max-size", "0", "0 is no number of bytes; give one, or inf"),
        ("--max-size", "-1", "-1 is no number of bytes; give one, or inf"),
        ("--max-size", "1k", "1k is no number of bytes; give one, or inf"),
        ("--header", "Cookie", "Cookie is no header; write it as 'Name: value'"),
        ("--header", " : value", " : value is no header; write it as 'Name: value'"),
    ],
)
def test_wrong_values(
    option: str, text: str, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        parse(f"{option}={text}")
    assert raised.value.code == 2
    assert capsys.readouterr().err.endswith(f": {error}\n")


def test_log_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    # By its name: who is the parent of another logger depends on which of them was there first.
    logger = logging.getLogger("geventws")
    before = logger.level, list(logger.handlers)
    with log_shown(logging.INFO):
        client = logging.getLogger("geventws.client")
        client.info("a line")
        client.debug("another line")
    output, errors = capsys.readouterr()
    assert output == "" and errors.endswith(" INFO a line\n") and errors.count("\n") == 1
    # `main` may be called by a program that has a log of its own.
    assert (logger.level, logger.handlers) == before
