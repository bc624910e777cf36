"""Servers that are killed: each line on stdin starts one more, in a process of its own.

A fork is much faster than a new interpreter. The parent has no hub, and prints the pid of
each server once it listens.
"""

import os
import signal
import sys

import geventws


def serve(port: int) -> None:
    """Echo until the end, which comes by a signal."""
    with geventws.serve(lambda ws: [ws.send(message) for message in ws], "127.0.0.1", port):
        print(os.getpid(), flush=True)
        # `serve_forever` would handle signals; a kill cannot be handled.
        import gevent

        gevent.get_hub().join()


if __name__ == "__main__":
    # Nobody waits for the children.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in sys.stdin:
        if os.fork() == 0:
            serve(int(sys.argv[1]))
