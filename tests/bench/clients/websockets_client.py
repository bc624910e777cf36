"""Client on websockets, its asyncio implementation."""

import asyncio

from websockets.asyncio.client import connect

from tests.bench.clients import done, uri


async def main() -> None:
    """Receive everything."""
    async with connect(uri(), compression=None) as ws:
        async for _message in ws:
            pass


asyncio.run(main())
done()
