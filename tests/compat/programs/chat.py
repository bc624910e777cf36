"""A chat of `WebSocketApplication`s in a `Resource`, with names kept on `active_client`."""

import json
from collections import OrderedDict

from geventwebsocket import Resource, WebSocketApplication, WebSocketServer


class ChatApplication(WebSocketApplication):
    def on_open(self):
        print("open", flush=True)

    def on_message(self, message):
        if message is None:
            print("message None", flush=True)
            return
        message = json.loads(message)
        if message["type"] == "name":
            self.ws.handler.active_client.name = message["name"]
            self.send_names()
        else:
            name = self.ws.handler.active_client.name
            self.broadcast({"type": "text", "from": name, "text": message["text"]})

    def send_names(self):
        clients = self.ws.handler.server.clients.values()
        names = sorted(getattr(client, "name", "?") for client in clients)
        self.ws.handler.active_client.ws.send(json.dumps({"type": "names", "names": names}))

    def broadcast(self, message):
        for client in self.ws.handler.server.clients.values():
            client.ws.send(json.dumps(message))

    def on_close(self, reason):
        print("close", reason, flush=True)


class EchoApplication(WebSocketApplication):
    """Nothing overridden: it echoes."""


def page(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"the chat"]


app = Resource(
    OrderedDict([("^/chat", ChatApplication), ("^/echo", EchoApplication), ("^/", page)])
)


if __name__ == "__main__":
    server = WebSocketServer(("127.0.0.1", 0), app, debug=False)
    server.start()
    print("port", server.server_port, flush=True)
    server.serve_forever()
