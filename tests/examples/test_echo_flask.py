"""examples/echo_flask.py, on gunicorn."""

from __future__ import annotations

import pytest

from geventws import InvalidStatus, connect
from tests.examples.support import check_echo, on_gunicorn


def test_echo() -> None:
    process = on_gunicorn("echo_flask:app")
    try:
        check_echo(process)
        with pytest.raises(InvalidStatus, match="403"):
            connect(f"ws://127.0.0.1:{process.address[1]}/echo?room=other")
        assert "Traceback" not in process.log
    finally:
        process.stop()
