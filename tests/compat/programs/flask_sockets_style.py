"""WebSockets in Flask by a middleware with routes of its own, as Flask-Sockets does it."""

from flask import Flask, request
from gevent import pywsgi
from geventwebsocket.handler import WebSocketHandler
from werkzeug.exceptions import NotFound
from werkzeug.routing import Map, Rule


class Sockets:
    def __init__(self, app):
        self.app = app
        self.routes = Map()
        self.wsgi_app, app.wsgi_app = app.wsgi_app, self

    def route(self, rule):
        def decorator(view):
            self.routes.add(Rule(rule, endpoint=view, websocket=True))
            return view

        return decorator

    def __call__(self, environ, start_response):
        adapter = self.routes.bind_to_environ(environ)
        try:
            view, values = adapter.match(websocket=True)
            ws = environ["wsgi.websocket"]
        except (NotFound, KeyError):
            return self.wsgi_app(environ, start_response)
        with self.app.request_context(environ):
            view(ws, **values)
        return []


app = Flask(__name__)
sockets = Sockets(app)


@sockets.route("/echo/<name>")
def echo(ws, name):
    while not ws.closed:
        message = ws.receive()
        if message:
            ws.send(f"{name} {request.args['greeting']} {message}")


@app.route("/")
def hello():
    return "Hello World!"


if __name__ == "__main__":
    server = pywsgi.WSGIServer(("127.0.0.1", 0), app, handler_class=WebSocketHandler)
    server.start()
    print("port", server.server_port, flush=True)
    server.serve_forever()
