"""The version that programs ask for."""

from __future__ import annotations

from typing import Any

import pytest

from geventws.compat import geventwebsocket
from geventws.compat.geventwebsocket.utils import VERSION, get_version


def test_version_is_that_of_gevent_websocket() -> None:
    assert geventwebsocket.VERSION is VERSION
    assert geventwebsocket.get_version() == "0.10.1"


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ((1, 2, 0, "final", 0), "1.2"),
        ((1, 2, 3, "alpha", 1), "1.2.3a1"),
        ((1, 2, 3, "rc", 2), "1.2.3c2"),
    ],
)
def test_get_version(version: Any, text: str) -> None:
    assert get_version(version) == text
