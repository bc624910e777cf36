"""WSGI applications for the matrix: the same behaviour through each door.

`doors` is all of them in one, by the first part of the path: ``/plain/echo``. Paths below that:
``/echo``, ``/reject`` (403), ``/crash`` (after the first message), ``/kill``, ``/forget``
(returns without closing), ``/forget-and-crash``, ``/elsewhere`` (leaves the WebSocket to another
greenlet), ``/twice`` (sends what a second `accept` raises), ``/count`` (what the process holds,
as JSON). The environment variable ``GEVENTWS_TEST_OPTIONS`` holds options for `accept`, as JSON.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import threading
from typing import Any
from wsgiref.util import shift_path_info

import gevent
from gevent._hub_local import get_hub_if_exists
from greenlet import greenlet

from geventws.net.mounted import MountedConnection
from geventws.wsgi import WebSocketMiddleware, accept, websocket_app

if os.environ.get("GEVENTWS_TEST_DEBUG") == "1":
    logging.getLogger("geventws").setLevel(logging.DEBUG)

OPTIONS: dict[str, Any] = json.loads(os.environ.get("GEVENTWS_TEST_OPTIONS", "{}"))


def echo(ws: Any) -> None:
    for message in ws:
        ws.send(message)


def crash(ws: Any) -> None:
    ws.recv()
    raise ValueError("crash on purpose")


def kill(ws: Any) -> None:
    ws.recv()
    raise gevent.GreenletExit


HANDLERS = {"/echo": echo, "/crash": crash, "/kill": kill}


def http(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """What is no WebSocket."""
    if environ["PATH_INFO"] == "/count":
        return answer(start_response, "200 OK", json.dumps(count()))
    if environ["PATH_INFO"] == "/reject":
        return answer(start_response, "403 Forbidden", "not you")
    return answer(start_response, "404 Not Found", "nothing here")


def answer(start_response: Any, status: str, text: str) -> list[bytes]:
    body = text.encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def plain(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """`accept` in an ordinary application."""
    path = environ["PATH_INFO"]
    if path in ("/forget", "/forget-and-crash", "/elsewhere"):
        ws = accept(environ, start_response, **OPTIONS)
        if path == "/forget-and-crash":
            raise ValueError("crash on purpose")
        if path == "/elsewhere":
            gevent.spawn(use_until_closed, ws)
        return []
    if path == "/twice":
        with accept(environ, start_response, **OPTIONS) as ws:
            try:
                accept(environ, start_response, **OPTIONS)
            except RuntimeError as exc:
                ws.send(repr(exc))
        return []
    if path not in HANDLERS:
        return http(environ, start_response)
    with accept(environ, start_response, **OPTIONS) as ws:
        HANDLERS[path](ws)
    return []


def use_until_closed(ws: Any) -> None:
    try:
        while True:
            ws.send("from elsewhere")
            ws.recv()
    except Exception:
        return


middleware = WebSocketMiddleware(http, HANDLERS, **OPTIONS)

view = WebSocketMiddleware(plain)

decorated = websocket_app(**OPTIONS)(echo)


def doors(environ: dict[str, Any], start_response: Any) -> Any:
    """One of the applications, by its name."""
    return globals()[shift_path_info(environ)](environ, start_response)


def telling(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """`plain`, which prints whether the request leaves its native thread a hub."""
    try:
        return plain(environ, start_response)
    finally:
        hub = get_hub_if_exists()
        print("hub left:", hub is not None and not hub.loop.default, flush=True)


def count() -> dict[str, int]:
    """What may leak."""
    gc.collect()
    objects = gc.get_objects()
    targets = []
    for number in os.listdir("/proc/self/fd"):
        # Another thread may close it; gunicorn answers nothing after an OSError.
        with contextlib.suppress(FileNotFoundError):
            targets.append(os.readlink(f"/proc/self/fd/{number}"))
    return {
        "sockets": sum(target.startswith("socket:") for target in targets),
        "descriptors": len(targets),
        # A thread's main greenlet has no parent.
        "greenlets": sum(isinstance(o, greenlet) and bool(o.parent) for o in objects),
        "hubs": sum(isinstance(o, gevent.hub.Hub) and not o.dead for o in objects),
        "connections": sum(isinstance(o, MountedConnection) for o in objects),
        "threads": threading.active_count(),
    }
