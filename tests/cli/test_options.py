"""Tests of geventws.cli.options: from the command line to the arguments of `connect`."""

from __future__ import annotations

import argparse
import logging
import ssl
from typing import Any

import pytest

from geventws.cli.options import add_client_options, client_options, log_shown
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


def test_log_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("geventws.client")
    before = logger.parent.level, list(logger.parent.handlers)
    with log_shown(logging.INFO):
        logger.info("a line")
        logger.debug("another line")
    output, errors = capsys.readouterr()
    assert output == "" and errors.endswith(" INFO a line\n")
    # `main` may be called by a program that has a log of its own.
    assert (logger.parent.level, logger.parent.handlers) == before
