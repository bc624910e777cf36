"""``geventws echo``: a server that sends back what it gets."""

from __future__ import annotations

import argparse
import logging
import signal
import ssl
import sys
from contextlib import suppress
from typing import Any

from geventws.cli.options import add_connection_options, connection_options
from geventws.cli.texts import explain
from geventws.core.exceptions import ConnectionClosed
from geventws.net.serve import serve
from geventws.net.server_connection import ServerConnection

__all__ = ["add_parser", "run"]

DESCRIPTION = """Run a WebSocket server that sends each message back, to try clients and proxies
with. It says where it listens, and logs connections to standard error. Ctrl-C or SIGTERM ends
it: open connections are closed with 1001."""

EPILOG = """examples:
  geventws echo
  geventws echo --host 0.0.0.0 --port 0          any free port, for other machines too
  geventws echo --certificate cert.pem --key key.pem
  geventws echo --verbose                        shows each frame

"""


def add_parser(commands: Any, exit_codes: str) -> None:
    """Add the command to those of the command line."""
    parser = commands.add_parser(
        "echo",
        help="run a server that sends messages back",
        description=DESCRIPTION,
        epilog=EPILOG + exit_codes,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument(
        "--port", type=int, default=8765, help="port to listen on (default: 8765; 0: any free one)"
    )
    parser.add_argument(
        "--certificate", metavar="PEM", help="speak TLS, with this certificate (chain)"
    )
    parser.add_argument(
        "--key", metavar="PEM", help="the certificate's key, if it is in another file"
    )
    add_connection_options(parser, logging.INFO)


def run(options: argparse.Namespace) -> int:
    """Serve until a signal ends it; return the exit code."""
    if options.key and not options.certificate:
        print("--key needs --certificate.", file=sys.stderr)
        return 2
    try:
        server = serve(
            echo,
            options.host,
            options.port,
            ssl=_tls(options.certificate, options.key),
            **connection_options(options),
        )
    except (OSError, OverflowError, ValueError) as exc:
        print(
            f"Failed to listen on {options.host}:{options.port}: {explain(exc)}.", file=sys.stderr
        )
        return 1
    host, port = server.address[:2]
    scheme = "wss" if options.certificate else "ws"
    shown = f"[{host}]" if ":" in host else host
    print(f"Echo server at {scheme}://{shown}:{port}/ (Ctrl-C ends it)", flush=True)
    server.serve_forever(signals=(signal.SIGINT, signal.SIGTERM))
    return 0


def _tls(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


def echo(ws: ServerConnection) -> None:
    """Send each message back."""
    # A client that is lost is an ordinary end here; the log tells how it ended.
    with suppress(ConnectionClosed):
        for message in ws:
            ws.send(message)
