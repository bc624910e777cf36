"""The journal: lines in order, those of level DEBUG only where they are wanted."""

from __future__ import annotations

import logging

from geventws.core.journal import MAX_LINES, Journal, Line


def test_keeps_lines_in_order() -> None:
    journal = Journal(debug=True)
    oops = ValueError("oops")
    journal.debug_line("= connection is %s", "OPEN")
    journal.line(logging.ERROR, "connection handler failed", exc=oops)
    journal.debug_line("! error while receiving data", exc=oops)
    assert journal.lines == [
        Line(logging.DEBUG, "= connection is %s", ("OPEN",), None),
        Line(logging.ERROR, "connection handler failed", (), oops),
        Line(logging.DEBUG, "! error while receiving data", (), oops),
    ]


def test_leaves_out_debug_lines_unless_asked() -> None:
    journal = Journal(debug=False)
    journal.debug_line("> EOF")
    journal.line(logging.INFO, "connection %s", "open")
    assert journal.lines == [Line(logging.INFO, "connection %s", ("open",), None)]


def test_a_line_is_what_the_logging_module_takes() -> None:
    journal = Journal(debug=True)
    journal.debug_line("< %s of %d", "TEXT", 3)
    line = journal.lines[0]
    record = logging.LogRecord("x", line.level, "x", 1, line.message, line.args, None)
    assert record.getMessage() == "< TEXT of 3"


def test_a_log_that_does_not_keep_up_loses_debug_lines_alone() -> None:
    journal = Journal(debug=True)
    for i in range(2 * MAX_LINES):
        journal.debug_line("< PING %d", i)
    assert len(journal.lines) == MAX_LINES
    assert journal.lines[-1].args == (MAX_LINES - 1,)
    journal.line(logging.INFO, "connection closed")
    assert journal.lines[-1].message == "connection closed"


def test_lines_are_taken_first_come_first_served() -> None:
    journal = Journal(debug=True)
    assert not journal.waiting
    journal.debug_line("one")
    journal.line(logging.INFO, "two")
    assert journal.waiting
    assert journal.take() == Line(logging.DEBUG, "one", (), None)
    # What happens while a line is emitted comes after those that wait.
    journal.debug_line("three")
    assert [journal.take().message, journal.take().message] == ["two", "three"]
    assert not journal.waiting
    # Looking does not change that.
    assert journal.lines == [] and not journal.waiting
    # The next line begins a list of its own.
    journal.debug_line("four")
    assert journal.waiting and journal.take().message == "four"
    assert not journal.waiting


def test_taking_lines_makes_room_for_others() -> None:
    journal = Journal(debug=True)
    for _ in range(MAX_LINES + 1):
        journal.debug_line("< PING")
    journal.take()
    for message in ("kept", "dropped"):
        journal.debug_line(message)
    assert len(journal.lines) == MAX_LINES and journal.lines[-1].message == "kept"
