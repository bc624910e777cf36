"""Flask-SocketIO in its gevent mode; ``socketio.run`` makes the server."""

import gevent
from flask import Flask, request
from flask_socketio import SocketIO, emit

app = Flask(__name__)
socketio = SocketIO(app, async_mode="gevent")


@socketio.on("connect")
def connect():
    print("connect", request.environ["REMOTE_ADDR"], flush=True)


@socketio.on("echo")
def echo(data):
    return data


@socketio.on("shout")
def shout(data):
    emit("shouted", data.upper(), broadcast=True)


@socketio.on("disconnect")
def disconnect(reason):
    print("disconnect", reason, flush=True)


def say_port():
    while socketio.wsgi_server is None or not socketio.wsgi_server.started:
        gevent.sleep(0.01)
    print("port", socketio.wsgi_server.server_port, flush=True)


if __name__ == "__main__":
    gevent.spawn(say_port)
    socketio.run(app, host="127.0.0.1", port=0)
