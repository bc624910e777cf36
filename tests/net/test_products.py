"""Tests of geventws.net.products: how the software is named."""

from __future__ import annotations

import sys

import gevent
import pytest

from geventws.net.products import SERVER, USER_AGENT
from geventws.version import version
from tests.net.support import run_program


def test_products() -> None:
    major, minor, *_ = sys.version_info
    products = f"Python/{major}.{minor} gevent/{gevent.__version__} geventws/{version}"
    assert (SERVER, USER_AGENT) == (products, products)


@pytest.mark.parametrize(
    "server, client, expected",
    [("mine", "yours", "('mine', 'yours')"), ("", "", "(None, None)")],
)
def test_environment(
    server: str, client: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEVENTWS_SERVER", server)
    monkeypatch.setenv("GEVENTWS_USER_AGENT", client)
    program = "from geventws.net.products import *; print((SERVER, USER_AGENT))"
    assert run_program(program) == (f"{expected}\n", "", 0)
