"""WebSockets in Bottle, as in its "Primer to asynchronous applications"."""

from bottle import Bottle, abort, request
from gevent.pywsgi import WSGIServer
from geventwebsocket import WebSocketError
from geventwebsocket.handler import WebSocketHandler

app = Bottle()


@app.route("/websocket")
def handle_websocket():
    wsock = request.environ.get("wsgi.websocket")
    if not wsock:
        abort(400, "Expected WebSocket request.")
    while True:
        try:
            message = wsock.receive()
            wsock.send(f"Your message was: {message!r}")
        except WebSocketError as exc:
            print("WebSocketError:", exc, flush=True)
            break


@app.route("/crash")
def crash():
    request.environ["wsgi.websocket"].receive()
    raise ValueError("crash on purpose")


if __name__ == "__main__":
    server = WSGIServer(("127.0.0.1", 0), app, handler_class=WebSocketHandler)
    server.start()
    print("port", server.server_port, flush=True)
    server.serve_forever()
