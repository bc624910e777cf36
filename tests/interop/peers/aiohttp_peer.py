"""aiohttp, as server and client."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import WSMsgType, web

from tests.interop.peers.talk import close_arguments, run_commands, say, settings

TLS = settings()


async def echo(ws: Any, path: str) -> None:
    """Send everything back until the end."""
    while True:
        message = await ws.receive()
        if message.type is WSMsgType.TEXT:
            if close := close_arguments(message.data):
                await ws.close(code=close[0], message=close[1].encode())
                say([path, ws.close_code, ""])
                return
            await ws.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await ws.send_bytes(message.data)
        else:
            say([path, message.data, message.extra])
            return


async def serve(request: web.Request) -> web.WebSocketResponse:
    """Accept a connection."""
    ws = web.WebSocketResponse(max_msg_size=0)
    await ws.prepare(request)
    await echo(ws, request.path)
    return ws


async def connect(uri: str, options: dict[str, Any]) -> None:
    """Connect to a server."""
    path = urlsplit(uri).path
    async with aiohttp.ClientSession() as session:
        # Chosen by the scheme.
        async with session.ws_connect(uri, ssl=TLS.client, max_msg_size=0, **options) as ws:
            say([path])
            await echo(ws, path)


async def main() -> None:
    """Serve, and connect, until there are no more commands."""
    app = web.Application()
    app.router.add_get("/{number}", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=TLS.server).start()
    say([address[1] for address in runner.addresses])
    await run_commands(connect)


asyncio.run(main())
