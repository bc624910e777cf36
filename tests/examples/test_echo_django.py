"""examples/echo_django.py, on gunicorn."""

from __future__ import annotations

from tests.examples.support import check_echo, on_gunicorn


def test_echo() -> None:
    process = on_gunicorn("echo_django:app")
    try:
        check_echo(process)
        assert "Traceback" not in process.log
    finally:
        process.stop()
