"""An application for gunicorn's workers, whose requests end in all kinds of ways.

Paths: ``/echo``, ``/ignore`` (stays when its WebSocket is closed), ``/release`` (lets those that
wait go on, once it was closed), ``/slow`` (plain HTTP that waits), ``/late`` (waits, then opens
a WebSocket); anything else answers with the worker's process id.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import gevent
from gevent.event import Event

from geventws import ConnectionClosed
from geventws.wsgi import WebSocketMiddleware

released = Event()


def echo(ws: Any) -> None:
    for message in ws:
        ws.send(message)


def ignore(ws: Any) -> None:
    try:
        while True:
            with contextlib.suppress(ConnectionClosed):
                ws.recv()
            gevent.sleep(0.05)
    finally:
        print("cleaned up", flush=True)


def release(ws: Any) -> None:
    with contextlib.suppress(ConnectionClosed):
        ws.recv()
    released.set()


def late(ws: Any) -> None:
    echo(ws)


def http(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = str(os.getpid()).encode()
    if environ["PATH_INFO"] == "/slow":
        print("slow begins", flush=True)
        released.wait()
        body = b"slow ends"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


routes = WebSocketMiddleware(
    http, {"/echo": echo, "/ignore": ignore, "/release": release, "/late": late}
)


def app(environ: dict[str, Any], start_response: Any) -> Any:
    if environ["PATH_INFO"] == "/late":
        print("late begins", flush=True)
        released.wait()
    return routes(environ, start_response)
