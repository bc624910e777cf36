"""Client on picows and uvloop."""

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from tests.bench.clients import done, uri


class Client(WSListener):
    """Receives everything."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Make a string of a message, or answer a close frame."""
        if frame.msg_type == WSMsgType.TEXT:
            frame.get_payload_as_utf8_text()
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()


async def main() -> None:
    """Receive until the connection is closed."""
    transport, _ = await ws_connect(Client, uri())
    await transport.wait_disconnected()


uvloop.run(main())
done()
