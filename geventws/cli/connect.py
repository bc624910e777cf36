"""``geventws connect``: send lines, show messages."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

import gevent

from geventws.cli.console import Console, Pipes, Terminal
from geventws.cli.options import (
    FAILURES,
    add_client_options,
    client_options,
    seconds,
)
from geventws.cli.texts import escape, explain
from geventws.core.exceptions import ConnectionClosed
from geventws.core.frames import Close
from geventws.net.client import connect
from geventws.net.client_connection import ClientConnection

__all__ = ["add_parser", "run"]

# How a binary message is shown, and typed.
BINARY = "(binary) "

# Frames that may wait to be shown. Many, because what a server sends while the connection is
# being closed is received without regard for who reads.
MAX_QUEUE = 1024

DESCRIPTION = """Connect to a WebSocket server, send each line of the input as a message, and
show the messages that arrive."""

EPILOG = """On a terminal, Ctrl-D or Ctrl-C closes the connection, and the arrow keys edit the
line and bring earlier ones back. A line '(binary) 00ff' sends two bytes; binary messages are
shown in the same way. Control characters of messages are shown as Python writes them.

From a pipe, each line is a text message, with --binary a binary one in hexadecimal. At the end
of the input the answers have a moment to arrive (--wait); then follows the closing handshake.
What the server sends before its close frame is shown.

examples:
  geventws connect ws://localhost:8765/
  printf 'a\\nb\\n' | geventws connect ws://localhost:8765/
  geventws connect -H 'Authorization: Bearer secret' --subprotocol chat wss://example.com/chat
  echo '{"subscribe": "news"}' | geventws connect --wait inf --raw wss://example.com/ | jq .

"""


def add_parser(commands: Any, exit_codes: str) -> None:
    """Add the command to those of the command line."""
    parser = commands.add_parser(
        "connect",
        help="talk to a WebSocket server",
        description=DESCRIPTION,
        epilog=EPILOG + exit_codes,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("uri", metavar="URI", help="ws:// or wss:// URI")
    parser.add_argument(
        "--binary", action="store_true", help="lines are hexadecimal: send binary messages"
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="write messages as they are, and nothing else, to standard output",
    )
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=seconds,
        default=0.5,
        help="how long to receive after the end of piped input (default: 0.5; inf: until the "
        "server closes the connection)",
    )
    add_client_options(parser)


def run(options: argparse.Namespace) -> int:
    """Connect, and hold the conversation; return the exit code."""
    uri = escape(options.uri)
    try:
        ws = connect(options.uri, max_queue=MAX_QUEUE, **client_options(options))
    except FAILURES as exc:
        print(f"Failed to connect to {uri}: {explain(exc)}.", file=sys.stderr)
        return 1
    conversation = Conversation(ws, _console(options.raw), options)
    conversation.note(f"Connected to {uri}.")
    conversation.hold()
    assert ws.close_code is not None and ws.close_reason is not None
    conversation.note(f"Connection closed: {escape(str(Close(ws.close_code, ws.close_reason)))}.")
    for failure in conversation.failures:
        print(failure, file=sys.stderr)
    return 1 if conversation.failures else 0


def _console(raw: bool) -> Console:
    source, target = sys.stdin.fileno(), sys.stdout.fileno()
    typed = os.isatty(source) and os.isatty(target) and not raw
    return Terminal() if typed else Pipes(source, target)


class Conversation:
    """Sends what a console has to say and shows it what arrives, until one of them ends.

    Args:
        ws: the connection.
        console: the console.
        options: those of the command line.
    """

    def __init__(self, ws: ClientConnection, console: Console, options: argparse.Namespace) -> None:
        # Why it did not go well, if it did not.
        self.failures: list[str] = []
        self._ws = ws
        self._console = console
        self._binary: bool = options.binary
        self._raw: bool = options.raw
        self._wait: float | None = options.wait

    def note(self, text: str) -> None:
        """Tell how things are."""
        if self._raw:
            print(text, file=sys.stderr)
        else:
            self._console.say(text)

    def hold(self) -> None:
        """Send and receive until the connection is closed."""
        receiver = gevent.spawn(self._receive)
        sender = gevent.spawn(self._send)
        try:
            self._wait_for_end(receiver, sender)
            self._ws.close()
            # It shows what came before the close frame.
            receiver.join()
        finally:
            sender.kill()
            self._console.close()

    def _wait_for_end(
        self, receiver: gevent.Greenlet[..., None], sender: gevent.Greenlet[..., None]
    ) -> None:
        try:
            gevent.wait([receiver, sender], count=1)
            if not self._console.interactive and not self.failures:
                receiver.join(self._wait)
        except KeyboardInterrupt:
            # The way to end what has no other end: the connection is closed properly.
            pass

    def _receive(self) -> None:
        try:
            for message in self._ws:
                self._console.show(self._format(message))
        except ConnectionClosed as exc:
            self.failures.append(explain(exc))
        except OSError as exc:
            self.failures.append(f"cannot write messages: {explain(exc)}")

    def _send(self) -> None:
        lines = self._console.lines()
        while not self._ws.wait_closed(0):
            try:
                line = next(lines, None)
                if line is None:
                    break
                self._ws.send(self._parse(line))
            except ConnectionClosed:
                # The receiver knows more of it.
                break
            except (OSError, ValueError) as exc:
                # What is typed can be typed again.
                if self._console.interactive and isinstance(exc, ValueError):
                    self._console.say(f"Not sent: {explain(exc)}.")
                else:
                    self.failures.append(f"cannot send: {explain(exc)}")
                    break

    def _parse(self, line: bytes) -> str | bytes:
        """Return the message that a line stands for.

        Raises:
            ValueError: it stands for none.
        """
        try:
            text = line.decode()
        except UnicodeDecodeError:
            raise ValueError("the line is not UTF-8; --binary sends hexadecimal digits") from None
        typed = self._console.interactive and text.startswith(BINARY)
        if not self._binary and not typed:
            return text
        try:
            return bytes.fromhex(text.removeprefix(BINARY))
        except ValueError:
            raise ValueError(f"{text.removeprefix(BINARY)!r} is not hexadecimal") from None

    def _format(self, message: str | bytes) -> bytes:
        """Return the line that shows a message."""
        if self._raw:
            return message.encode() if isinstance(message, str) else message
        shown = escape(message) if isinstance(message, str) else BINARY + message.hex()
        return f"< {shown}".encode()
