"""An echo in a Django project, all of it: ``gunicorn -k geventws.gunicorn.Worker echo_django:app``.

In a real project settings, views and routes have modules of their own; ``wsgi.py`` gets the
last line.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings  # type: ignore[import-untyped]
from django.core.wsgi import get_wsgi_application  # type: ignore[import-untyped]
from django.http import FileResponse, HttpResponse  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]

from geventws import ConnectionClosed, InvalidHandshake
from geventws.wsgi import WebSocketMiddleware, accept

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["localhost", "127.0.0.1"])


def page(request: Any) -> Any:
    """Show the page."""
    return FileResponse(Path(__file__).with_name("echo.html").open("rb"), content_type="text/html")


def echo(request: Any) -> Any:
    """Serve one WebSocket; what is returned in the end nobody sees."""
    with suppress(ConnectionClosed, InvalidHandshake), accept(request.environ) as ws:
        for message in ws:
            ws.send(message)
    return HttpResponse()


urlpatterns = [path("", page), path("echo", echo)]

app = WebSocketMiddleware(get_wsgi_application())
