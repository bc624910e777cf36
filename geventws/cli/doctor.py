"""``geventws doctor``: what runs here, and why a connection fails."""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from typing import Any

from gevent.monkey import MonkeyPatchWarning

from geventws.cli.environment import examine_environment
from geventws.cli.options import add_client_options, client_options
from geventws.cli.patching import examine_patching
from geventws.cli.probe import probe
from geventws.cli.report import Report
from geventws.cli.texts import explain

__all__ = ["add_parser", "run"]

DESCRIPTION = """Show versions and what is monkey patched. With a URI, connect to it step by step,
and show what each step found and how long it took. What is wrong is marked FAILED, with what to
do about it."""

EPILOG = """examples:
  geventws doctor
  geventws doctor --import app                      is 'app' patched, all of it and in time?
  geventws doctor wss://example.com/chat
  geventws doctor --origin https://example.com -H 'Cookie: session=1' wss://example.com/chat

"""


def add_parser(commands: Any, exit_codes: str) -> None:
    """Add the command to those of the command line."""
    parser = commands.add_parser(
        "doctor",
        help="show versions, patching, and why a connection fails",
        description=DESCRIPTION,
        epilog=EPILOG + exit_codes,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("uri", metavar="URI", nargs="?", help="ws:// or wss:// URI to connect to")
    parser.add_argument(
        "--import",
        dest="module",
        metavar="MODULE",
        help="import a module first, as a server does, to see what it patches",
    )
    add_client_options(parser)


def run(options: argparse.Namespace) -> int:
    """Examine this process and a connection; return the exit code."""
    report = Report()
    if options.module:
        _import(options.module, report)
    examine_environment(report)
    examine_patching(report)
    if options.uri:
        report.heading(options.uri)
        try:
            arguments = client_options(options)
        except (OSError, ValueError) as exc:
            report.problem("--cafile", explain(exc), "It must be a file of PEM certificates.")
        else:
            probe(options.uri, arguments, report)
    report.heading(_verdict(report.problems))
    return 1 if report.problems else 0


def _verdict(problems: int) -> str:
    if not problems:
        return "Nothing is wrong."
    return f"{problems} problem{'s' if problems > 1 else ''}: see FAILED above."


def _import(name: str, report: Report) -> None:
    """Import a module, or the one of ``module:app``, from the current folder or elsewhere."""
    sys.path.insert(0, "")
    try:
        with warnings.catch_warnings():
            # The report says it better; and it may be we who imported ssl first.
            warnings.simplefilter("ignore", MonkeyPatchWarning)
            importlib.import_module(name.partition(":")[0])
    except Exception as exc:
        advice = "It must be importable from the current folder, as your server imports it."
        report.problem("import", f"{type(exc).__name__}: {explain(exc)}", advice)
