"""Sends each message to all clients of a plain WSGIServer, and the time to whoever listens."""

import gevent
from gevent.pywsgi import WSGIServer
from geventwebsocket.handler import WebSocketHandler

listeners = set()


def tick():
    number = 0
    while True:
        for ws in list(listeners):
            if not ws.closed:
                ws.send(f"tick {number}")
        number += 1
        gevent.sleep(0.05)


def app(environ, start_response):
    ws = environ["wsgi.websocket"]
    if environ["PATH_INFO"] == "/ticks":
        if not listeners:
            gevent.spawn(tick)
        listeners.add(ws)
        try:
            while ws.receive() is not None:
                pass
        finally:
            listeners.discard(ws)
            print("listeners", len(listeners), flush=True)
        return []
    while not ws.closed:
        message = ws.receive()
        if message is not None:
            for client in ws.handler.server.clients.values():
                client.ws.send(message)
    print("clients", len(ws.handler.server.clients), flush=True)
    return []


if __name__ == "__main__":
    server = WSGIServer(("127.0.0.1", 0), app, handler_class=WebSocketHandler)
    server.start()
    print("port", server.server_port, flush=True)
    server.serve_forever()
