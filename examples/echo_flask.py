"""An echo in a Flask application: ``flask --app echo_flask run``, or on any WSGI server.

In production: ``gunicorn -k geventws.gunicorn.Worker echo_flask:app``.
"""

from __future__ import annotations

from pathlib import Path

from flask import Flask, Response, abort, request, send_file

from geventws.flask import Sock, SockConnection

app = Flask(__name__)
sock = Sock(app, max_size=2**16)


@app.get("/")
def page() -> Response:
    """Show the page."""
    return send_file(Path(__file__).with_name("echo.html"))


@sock.route("/echo")
def echo(ws: SockConnection) -> None:
    """Serve one WebSocket; until it is used for the first time, the answer may be plain HTTP."""
    if request.args.get("room", "public") != "public":
        abort(403, "There is no such room.")
    for message in ws:
        ws.send(message)
