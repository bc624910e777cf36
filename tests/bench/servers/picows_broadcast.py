"""Broadcast on picows and uvloop: a loop that sends, for there is nothing ready-made."""

import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

connections: set[WSTransport] = set()


class Publisher(WSListener):
    """Sends everything to all."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Add a connection."""
        connections.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Remove a connection."""
        connections.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Send a message to all, or answer a close frame."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
            return
        message = frame.get_payload_as_bytes()
        for connection in connections:
            connection.send(frame.msg_type, message)


async def main() -> None:
    """Serve until the process is ended."""

    def make_listener(request: WSUpgradeRequest) -> WSListener:
        return Publisher()

    server = await ws_create_server(make_listener, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


uvloop.run(main())
