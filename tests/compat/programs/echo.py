"""An echo, as in the README of gevent-websocket; it also answers HTTP."""

from gevent import pywsgi
from geventwebsocket import WebSocketError
from geventwebsocket.handler import WebSocketHandler


def app(environ, start_response):
    ws = environ.get("wsgi.websocket")
    if ws is None:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"no websocket here"]
    if environ["PATH_INFO"] == "/about":
        ws.send(f"{ws.path} {ws.origin} {ws.protocol} {ws.version}")
        ws.send(environ["wsgi.websocket_version"])
        ws.send(type(ws.receive()).__name__)
        ws.send(str(ws.handler.active_client.ws is ws))
        return []
    if environ["PATH_INFO"] == "/close":
        ws.close(4321, b"as you like it")
        print("closed", ws.closed, ws.environ, ws.path, flush=True)
        return []
    if environ["PATH_INFO"] == "/crash":
        ws.receive()
        raise ValueError("crash on purpose")
    while True:
        message = ws.receive()
        if message is None:
            break
        ws.send(message)
    try:
        ws.receive()
    except WebSocketError as exc:
        print("receive:", exc, flush=True)
    try:
        ws.send("too late")
    except WebSocketError as exc:
        print("send:", exc, flush=True)


if __name__ == "__main__":
    address = ("127.0.0.1", 0)
    server = pywsgi.WSGIServer(address, app, handler_class=WebSocketHandler)
    server.start()
    print("port", server.server_port, flush=True)
    server.serve_forever()
