"""A Flask application with a WebSocket for each way in which a view can behave."""

from __future__ import annotations

import json
import os
from typing import Any

import gevent
from flask import Blueprint, Flask, abort, redirect, request, session

from geventws import ConnectionClosed, InvalidHandshake
from geventws.flask import Sock
from tests.wsgi.apps import OPTIONS, count

app = Flask(__name__)
app.config["SECRET_KEY"] = "no secret"
app.config["SOCK_SERVER_OPTIONS"] = OPTIONS
# Before there is an application.
sock = Sock()
rooms = Blueprint("rooms", __name__, url_prefix="/rooms")


@app.before_request
def only_invited() -> None:
    if request.args.get("invited") == "no":
        abort(401, "who are you")
    if "visit" in request.args:
        session["visits"] = session.get("visits", 0) + 1


@app.after_request
def after(response: Any) -> Any:
    print("after_request", request.path, flush=True)
    return response


@app.teardown_request
def teardown(exc: BaseException | None) -> None:
    print("teardown", request.path, type(exc).__name__, flush=True)


@sock.route("/echo")
def echo(ws: Any) -> None:
    for message in ws:
        ws.send(message)


@sock.route("/as-with-flask-sock")
def as_with_flask_sock(ws: Any) -> None:
    while ws.connected:
        data = ws.receive(timeout=0.1)
        if data == "bye":
            ws.close(reason=4000, message="see you")
        elif data is not None:
            ws.send(data)
        else:
            ws.send("nothing came")


@sock.route("/reject")
def reject(ws: Any) -> None:
    abort(403, "not you")


@sock.route("/elsewhere")
def elsewhere(ws: Any) -> Any:
    return redirect("/echo")


@sock.route("/abort-later")
def abort_later(ws: Any) -> None:
    ws.recv()
    abort(403)


@sock.route("/crash")
def crash(ws: Any) -> None:
    ws.recv()
    raise ValueError("crash on purpose")


@sock.route("/crash-early")
def crash_early(ws: Any) -> None:
    raise ValueError("crash on purpose")


@sock.route("/kill")
def kill(ws: Any) -> None:
    ws.recv()
    raise gevent.GreenletExit


@sock.route("/at-once")
def at_once(ws: Any) -> None:
    """It does not use its WebSocket at all."""


@sock.route("/helper")
def helper(ws: Any) -> None:
    """Another greenlet opens the WebSocket, and ends before it."""
    gevent.spawn(ws.send, "from another greenlet").join()
    ws.send(ws.recv())


@sock.route("/session")
def read_session(ws: Any) -> None:
    ws.send(json.dumps(session.get("visits")))


@sock.route("/subprotocol")
def subprotocol(ws: Any) -> None:
    ws.send(str(ws.subprotocol))


@sock.route("/other-connection")
def other_connection(ws: Any) -> None:
    ws.recv()
    raise ConnectionClosed(None, None)


@sock.route("/other-handshake")
def other_handshake(ws: Any) -> None:
    ws.recv()
    raise InvalidHandshake("of a client in the view")


@sock.route("/users/<int:number>/<path:rest>")
def user(ws: Any, number: int, rest: str) -> None:
    ws.send(f"{number + 1} {rest} {request.args['q']}")


@sock.route("/<name>", bp=rooms)
def room(ws: Any, name: str) -> None:
    if name == "closed":
        abort(404)
    ws.send(f"room {name}")


@app.route("/page")
def page() -> str:
    return "a page"


@app.route("/count")
def counts() -> dict[str, int]:
    return count()


@app.route("/pid")
def pid() -> str:
    return str(os.getpid())


sock.init_app(app)
app.register_blueprint(rooms)


@sock.route("/late")
def late(ws: Any) -> None:
    """Added when there is an application."""
    ws.send("late")
