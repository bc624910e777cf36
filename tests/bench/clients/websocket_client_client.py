"""Client on websocket-client."""

from websocket import WebSocketConnectionClosedException, create_connection

from tests.bench.clients import done, uri

ws = create_connection(uri())
try:
    while ws.recv():
        pass
except WebSocketConnectionClosedException:
    pass
done()
