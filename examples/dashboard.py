"""A live dashboard: what this process does, twice a second, drawn by the browser."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import deque
from pathlib import Path

import gevent

import geventws

INTERVAL = 0.5  # seconds

history: deque[str] = deque(maxlen=120)  # a minute, for those who come later


def measure(server: geventws.Server) -> None:
    """Measure for ever, and show everybody; who does not keep up misses some."""
    cpu, clock = time.process_time(), time.monotonic()
    while True:
        gevent.sleep(INTERVAL)
        elapsed, used = time.monotonic() - clock, time.process_time() - cpu
        cpu, clock = cpu + used, clock + elapsed
        values = {
            "time": time.time(),
            "cpu": round(100 * used / elapsed, 2),  # percent of a core
            "late": round(1000 * max(0.0, elapsed - INTERVAL), 2),  # ms: how busy the hub is
            "load": round(os.getloadavg()[0], 2),
            "clients": len(server.connections),
        }
        history.append(json.dumps(values))
        geventws.broadcast(server.connections, history[-1])


def watch(ws: geventws.ServerConnection) -> None:
    """Serve one viewer: the last minute at once, then what `measure` broadcasts."""
    with ws.batch():
        for event in list(history):
            ws.send(event)
    ws.wait_closed()


def page(ws: geventws.ServerConnection, request: geventws.Request) -> geventws.Response | None:
    """Answer every request but the one for the WebSocket."""
    if request.path == "/live":
        return None
    if request.path != "/":
        return ws.respond(404, "The dashboard is at /\n")
    response = ws.respond(200, Path(__file__).with_suffix(".html").read_text("utf-8"))
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "text/html; charset=utf-8"
    return response


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", default=8000, type=int, help="port to listen on")
    args = parser.parse_args()
    with geventws.serve(watch, args.host, args.port, process_request=page, max_size=100) as server:
        print(f"Dashboard at http://{args.host}:{server.address[1]}/  (Ctrl-C ends it)", flush=True)
        gevent.spawn(measure, server)
        server.serve_forever()
