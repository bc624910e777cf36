"""picows, by its interface of websockets, as server and client."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

from picows.websockets.asyncio.client import connect as picows_connect
from picows.websockets.asyncio.server import serve
from picows.websockets.exceptions import ConnectionClosed

from tests.interop.peers.talk import FRAGMENTS, close_arguments, run_commands, say, settings

TLS = settings()


async def echo(ws: Any, path: str) -> None:
    """Send everything back until the end."""
    try:
        while True:
            message = await ws.recv()
            if close := close_arguments(message):
                await ws.close(*close)
            else:
                await ws.send(FRAGMENTS if message == "fragments" else message)
    except ConnectionClosed:
        say([path, ws.close_code, ws.close_reason or ""])


async def handle(ws: Any) -> None:
    """Serve a connection."""
    await echo(ws, urlsplit(ws.request.path).path)


async def connect(uri: str, options: dict[str, Any]) -> None:
    """Connect to a server."""
    path = urlsplit(uri).path
    tls = TLS.client if uri.startswith("wss") else None
    async with picows_connect(uri, ssl=tls, proxy=None, max_size=None, **options) as ws:
        say([path])
        await echo(ws, path)


async def main() -> None:
    """Serve, and connect, until there are no more commands."""
    servers = [
        await serve(handle, "127.0.0.1", 0, ssl=tls, max_size=None) for tls in (None, TLS.server)
    ]
    say([next(iter(server.sockets)).getsockname()[1] for server in servers])
    await run_commands(connect)


asyncio.run(main())
