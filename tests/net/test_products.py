"""Tests of geventws.net.products: how the software is named."""

from __future__ import annotations

import os
import subprocess
import sys

import gevent
import pytest

from geventws.net.products import SERVER, USER_AGENT
from geventws.version import version


def test_products() -> None:
    major, minor, *_ = sys.version_info
    products = f"Python/{major}.{minor} gevent/{gevent.__version__} geventws/{version}"
    assert (SERVER, USER_AGENT) == (products, products)


@pytest.mark.parametrize(
    "server, client, expected",
    [("mine", "yours", "('mine', 'yours')"), ("", "", "(None, None)")],
)
def test_environment(server: str, client: str, expected: str) -> None:
    code = "from geventws.net.products import *; print((SERVER, USER_AGENT))"
    environment = {"GEVENTWS_SERVER": server, "GEVENTWS_USER_AGENT": client}
    process = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        check=True,
        text=True,
    )
    assert process.stdout.strip() == expected
