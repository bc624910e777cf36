"""A client that comes back: it follows the dashboard, or whatever talks JSON, for ever.

    $ python examples/dashboard.py
    $ python examples/reconnecting_client.py ws://127.0.0.1:8000/live

Stop the dashboard and start it again: the client says what it waits for, and goes on.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal

import gevent

import geventws


def follow(uri: str) -> None:
    """Print what the server says, over all connections; return when it refuses for good."""
    for ws in geventws.reconnect(uri, open_timeout=5, ping_interval=5, ping_timeout=5):
        print("connected", flush=True)
        try:
            for message in ws:
                print(json.loads(message), flush=True)
            print(f"the server said goodbye ({ws.close_code})", flush=True)
        except geventws.ConnectionClosedError as exc:
            print(f"lost: {exc}", flush=True)
        except ValueError:
            # Another server than we thought: not worth coming back.
            print("this is no JSON", flush=True)
            break


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("uri", nargs="?", default="ws://127.0.0.1:8000/live")
    # The library says at INFO that connecting failed, and when it tries again.
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    following = gevent.spawn(follow, parser.parse_args().uri)
    gevent.signal_handler(signal.SIGINT, following.kill)
    following.get()
