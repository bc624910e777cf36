"""Broadcast on websockets, its asyncio implementation."""

import asyncio
import sys

from websockets.asyncio.server import ServerConnection, broadcast, serve

connections: set[ServerConnection] = set()


async def publish(ws: ServerConnection) -> None:
    """Send everything to all."""
    connections.add(ws)
    try:
        async for message in ws:
            broadcast(connections, message)
    finally:
        connections.remove(ws)


async def main() -> None:
    """Serve until the process is ended."""
    compression = "deflate" if "deflate" in sys.argv else None
    async with serve(publish, "127.0.0.1", 0, compression=compression) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


asyncio.run(main())
