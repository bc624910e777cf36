"""Client on aiohttp."""

import asyncio

from aiohttp import ClientSession

from tests.bench.clients import done, uri


async def main() -> None:
    """Receive everything; `data` of a text message is a string."""
    async with ClientSession() as session, session.ws_connect(uri()) as ws:
        async for message in ws:
            assert message.data


asyncio.run(main())
done()
