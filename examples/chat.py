"""A chat room, page and WebSocket on one port; the first text of a client is its name."""

from __future__ import annotations

import argparse
import json
from collections import deque
from contextlib import suppress
from pathlib import Path

import gevent
from gevent.queue import Full, Queue

import geventws

history: deque[str] = deque(maxlen=50)  # what a newcomer gets to see
room: dict[geventws.ServerConnection, Queue[str]] = {}  # who is here, and what waits for them


def post(kind: str, name: str, text: str) -> None:
    """Tell everybody and wait for nobody: each client has a queue of its own."""
    event = json.dumps(dict(kind=kind, name=name, text=text, online=len(room)))
    history.append(event)
    for ws, outbox in list(room.items()):
        try:
            outbox.put_nowait(event)
        except Full:  # it does not keep up, and the room goes on without it
            del room[ws]
            gevent.spawn(ws.close, geventws.CloseCode.TRY_AGAIN_LATER, "too slow")


def deliver(ws: geventws.ServerConnection, outbox: Queue[str]) -> None:
    """Send a client what its queue holds, at the pace at which it reads."""
    with suppress(geventws.ConnectionClosed):
        for event in outbox:
            ws.send(event)


def chat(ws: geventws.ServerConnection) -> None:
    """Serve one client, from its name to its goodbye."""
    texts = (message for message in ws if isinstance(message, str) and message.strip())
    with suppress(geventws.ConnectionClosed):
        if name := next(texts, "")[:24]:
            room[ws] = outbox = Queue(maxsize=100, items=history)
            courier = gevent.spawn(deliver, ws, outbox)
            post("notice", name, "joined")
            try:
                for text in texts:
                    post("message", name, text)
            finally:
                courier.kill()
                room.pop(ws, None)
                post("notice", name, "left")


def page(ws: geventws.ServerConnection, request: geventws.Request) -> geventws.Response | None:
    """Answer every request but the one for the WebSocket."""
    if request.path == "/":
        response = ws.respond(200, Path(__file__).with_suffix(".html").read_text("utf-8"))
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "text/html; charset=utf-8"
        return response
    return None if request.path == "/chat" else ws.respond(404, "The chat is at /\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A chat room, served by geventws.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", default=8000, type=int, help="port to listen on")
    args = parser.parse_args()
    try:
        server = geventws.serve(chat, args.host, args.port, process_request=page, max_size=4096)
    except OSError as exc:
        parser.error(f"cannot listen on port {args.port}: {exc}; choose another one with --port")
    print(f"Chat at http://{args.host}:{server.address[1]}/  (Ctrl-C ends it)", flush=True)
    server.serve_forever()
