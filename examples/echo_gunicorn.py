"""An echo on gunicorn: ``gunicorn -k geventws.gunicorn.Worker echo_gunicorn:app``.

The worker says goodbye to WebSockets when it stops; ``gunicorn.conf.py`` may hold its settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from geventws import InvalidHandshake
from geventws.wsgi import accept

PAGE = Path(__file__).with_name("echo.html").read_bytes()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a request: the page, or the WebSocket."""
    if environ["PATH_INFO"] == "/":
        length = ("Content-Length", str(len(PAGE)))
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8"), length])
        return [PAGE]
    if environ["PATH_INFO"] != "/echo":
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"The page is at /"]
    try:
        ws = accept(environ, start_response, max_size=2**16)
    except InvalidHandshake:  # the client was told why
        return []
    with ws:
        for message in ws:
            ws.send(message)
    return []
