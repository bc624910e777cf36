"""A server to be attacked, in a process of its own; run as ``python -m tests.load.server``."""

from __future__ import annotations

import argparse
import json
import logging
import os
import ssl
from typing import Any

from geventws import ConnectionClosed, Request, ServerConnection, serve
from tests.faults.census import begin_to_count, resident_size, take_census
from tests.load.descriptors import allow_descriptors

# What ``/flood`` sends, over and over.
FLOOD = bytes(16 * 1024)


def handler(ws: ServerConnection) -> None:
    """Answer each message; on ``/flood``, send without end."""
    assert ws.request is not None
    try:
        if ws.request.path == "/flood":
            while True:
                ws.send(FLOOD)
        for message in ws:
            ws.send(message)
    except ConnectionClosed:
        # Attackers do not care for how they end.
        pass


def tell(ws: ServerConnection, request: Request) -> Any:
    """Answer a plain request by what the process holds."""
    if request.path != "/count":
        return None
    census = take_census()._asdict()
    return ws.respond(200, json.dumps({"size": resident_size(), **census}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tls", help="file with certificate and key")
    parser.add_argument("--descriptors", type=int, help="how many it may have")
    parser.add_argument("--options", default="{}", help="for `serve`, in JSON")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    context = None
    if arguments.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(arguments.tls)
    options = json.loads(arguments.options)
    server = serve(handler, "127.0.0.1", 0, ssl=context, process_request=tell, **options)
    allow_descriptors(arguments.descriptors)
    begin_to_count()
    with server:
        print("port", server.address[1], "process", os.getpid(), flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
