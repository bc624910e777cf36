"""Flask-SocketIO in its gevent mode; ``socketio.run`` makes the server."""

import sys

from flask import Flask, request
from flask_socketio import SocketIO, emit
from gevent import pywsgi

from geventwebsocket.handler import WebSocketHandler

app = Flask(__name__)
socketio = SocketIO(app, async_mode="gevent")


@socketio.on("connect")
def connect():
    print("connect", request.environ["wsgi.websocket"].version, flush=True)


@socketio.on("echo")
def echo(data):
    return data


@socketio.on("shout")
def shout(data):
    emit("shouted", data.upper(), broadcast=True)


@socketio.on("disconnect")
def disconnect(reason):
    print("disconnect", reason, flush=True)


if __name__ == "__main__":
    if "run" in sys.argv:
        socketio.run(app, host="127.0.0.1", port=int(sys.argv[-1]))
    else:
        server = pywsgi.WSGIServer(("127.0.0.1", 0), app, handler_class=WebSocketHandler)
        server.start()
        print("port", server.server_port, flush=True)
        server.serve_forever()
