"""Options of the command line that connections have, and what they mean for `connect`."""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import ssl
import sys
from collections.abc import Iterator
from typing import Any

from geventws.core.exceptions import WebSocketException
from geventws.core.headers import MultipleValuesError

__all__ = [
    "FAILURES",
    "add_client_options",
    "add_connection_options",
    "add_verbose",
    "client_options",
    "connection_options",
    "log_shown",
    "seconds",
    "size",
]

# What connecting may raise though the program is right: said in one line, without a traceback.
# Extras that are not installed are an ImportError.
FAILURES = (WebSocketException, OSError, ValueError, MultipleValuesError, ImportError)


def seconds(text: str) -> float | None:
    """Return a number of seconds, None for "inf"."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds; give one, or inf")
    return None if math.isinf(value) else value


def size(text: str) -> int | None:
    """Return a number of bytes, None for "inf"."""
    if text == "inf":
        return None
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is no number of bytes; give one, or inf")
    return int(text)


def header(text: str) -> tuple[str, str]:
    """Return a header's name and value."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text} is no header; write it as 'Name: value'")
    return name.strip(), value.strip()


def add_verbose(parser: argparse.ArgumentParser, level: int) -> None:
    """Add the option that shows all of the log, not only from a level on."""
    parser.add_argument(
        "-v",
        "--verbose",
        dest="level",
        action="store_const",
        const=logging.DEBUG,
        default=level,
        help="show each frame and header on standard error",
    )


def add_connection_options(parser: argparse.ArgumentParser, level: int = logging.WARNING) -> None:
    """Add the options that the connections of clients and servers have.

    Args:
        parser: gets them.
        level: from which on the log is shown, unless all of it is.
    """
    parser.add_argument(
        "--subprotocol",
        dest="subprotocols",
        metavar="NAME",
        action="append",
        help="subprotocol to speak; repeat it for more, the preferred first",
    )
    parser.add_argument(
        "--no-compression", action="store_true", help="do without permessage-deflate"
    )
    parser.add_argument(
        "--max-size",
        metavar="BYTES",
        type=size,
        default=2**20,
        help="largest message to receive (default: 1048576; inf: any)",
    )
    for name, default, text in (
        ("open-timeout", 10, "for the whole opening handshake"),
        ("close-timeout", 10, "for the closing handshake"),
        ("ping-interval", 20, "between keepalive pings; inf sends none"),
        ("ping-timeout", 20, "for the answer to a ping; inf waits for ever"),
    ):
        parser.add_argument(
            f"--{name}",
            metavar="SECONDS",
            type=seconds,
            default=float(default),
            help=f"{text} (default: {default})",
        )
    add_verbose(parser, level)


def add_client_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that connecting takes."""
    parser.add_argument(
        "-H",
        "--header",
        dest="headers",
        metavar="'NAME: VALUE'",
        type=header,
        action="append",
        default=[],
        help="header to add to the request; repeat it for more",
    )
    parser.add_argument("--origin", help="value of the Origin header")
    parser.add_argument(
        "--insecure", action="store_true", help="do not verify the server's certificate"
    )
    parser.add_argument(
        "--cafile", metavar="PEM", help="certificates to trust instead of the system's"
    )
    parser.add_argument(
        "--proxy",
        metavar="URL",
        default=True,
        help="proxy to connect through (default: what the environment says)",
    )
    parser.add_argument(
        "--no-proxy",
        dest="proxy",
        action="store_const",
        const=None,
        help="connect directly, whatever the environment says",
    )
    add_connection_options(parser)


def connection_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments for `serve` and `connect` that `add_connection_options` asks for."""
    names = ("max_size", "open_timeout", "close_timeout", "ping_interval", "ping_timeout")
    return {
        "subprotocols": options.subprotocols,
        "compression": None if options.no_compression else "deflate",
        **{name: getattr(options, name) for name in names},
    }


def client_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments for `connect` that `add_client_options` asks for.

    Raises:
        OSError: the certificates cannot be read.
    """
    context = None
    if options.uri.lower().startswith("wss:"):
        context = ssl.create_default_context(cafile=options.cafile)
        if options.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
    return {
        "ssl": context,
        "origin": options.origin,
        "additional_headers": options.headers,
        "proxy": options.proxy,
        **connection_options(options),
    }


@contextlib.contextmanager
def log_shown(level: int) -> Iterator[None]:
    """Show the log on standard error, from a level on."""
    logger = logging.getLogger("geventws")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = logger.level
    logger.setLevel(level)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
