"""Echo on websockets, its asyncio implementation."""

import asyncio
import sys

from websockets.asyncio.server import ServerConnection, serve


async def echo(ws: ServerConnection) -> None:
    """Send everything back."""
    async for message in ws:
        await ws.send(message)


async def main() -> None:
    """Serve until the process is ended."""
    compression = "deflate" if "deflate" in sys.argv else None
    async with serve(echo, "127.0.0.1", 0, compression=compression) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


asyncio.run(main())
