"""The commands of ``geventws``, and what its exit codes mean."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence

import gevent

from geventws.build import build_name
from geventws.cli import connect, doctor, echo
from geventws.cli.options import log_shown
from geventws.net.signals import signals_wake
from geventws.version import version

__all__ = ["interruptible", "main", "make_parser"]

EXIT_CODES = """exit codes:
  0    all went well
  1    it failed; one line on standard error says why
  2    the command line is wrong
  130  Ctrl-C or SIGTERM came before there was anything to end properly
"""

EXAMPLES = """examples:
  geventws echo                                a server to try things with
  geventws connect ws://localhost:8765/        talk to a server
  geventws doctor wss://example.com/chat       why it does not connect

'geventws COMMAND --help' shows the options of a command, and more examples.

"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for.

    Args:
        arguments: instead of this process's own.

    Returns:
        The exit code.

    Raises:
        SystemExit: the command line is wrong, or asks for ``--help`` or ``--version``.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0].startswith(("ws://", "wss://")):
        # As websockets' command line has it.
        words.insert(0, "connect")
    parser = make_parser()
    options = parser.parse_args(words)
    if options.run is None:
        parser.print_usage(sys.stderr)
        return 2
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What others say is shown, whatever the terminal's character set is.
            stream.reconfigure(errors="backslashreplace")
    try:
        with interruptible(), log_shown(options.level):
            code: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Who read our output has gone. Python would complain at exit that it cannot flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let signals raise KeyboardInterrupt here; in the hub, gevent would print it as well."""
    greenlet = gevent.getcurrent()

    def interrupt(*args: object) -> None:
        gevent.kill(greenlet, KeyboardInterrupt)

    with contextlib.ExitStack() as stack:
        # In another thread than the main one there are no signals.
        with contextlib.suppress(ValueError):
            for number in (signal.SIGINT, signal.SIGTERM):
                stack.callback(signal.signal, number, signal.signal(number, interrupt))
            stack.enter_context(signals_wake())
        yield


def make_parser() -> argparse.ArgumentParser:
    """Return what understands the command line."""
    parser = argparse.ArgumentParser(
        prog="geventws",
        description="WebSockets for gevent.",
        epilog=EXAMPLES + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shown = f"geventws {version} ({build_name()})"
    parser.add_argument("--version", action="version", version=shown)
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in (connect, echo, doctor):
        command.add_parser(commands, EXIT_CODES)
    return parser
