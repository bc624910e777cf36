"""Tests of geventws.cli.report: how `geventws doctor` prints."""

from __future__ import annotations

import re

import pytest

from geventws.cli.report import Report


def test_facts(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    report.heading("ws://\x1b/")
    report.fact("name", "a\nfact")
    report.fact("name", "世", 0.0123)
    assert report.problems == 0
    output = capsys.readouterr().out
    assert output == f"\nws://\\x1b/\nname         a\\nfact\nname         世{58 * ' '}    12.3 ms\n"


def test_problem(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    report.problem("name", "it hurts", "Do\n  " + "something " * 10)
    assert report.problems == 1
    first, *advice = capsys.readouterr().out.splitlines()
    assert first == "name         FAILED: it hurts"
    assert " ".join(line.strip() for line in advice) == "Do" + " something" * 10
    assert all(line.startswith(" " * 13) and len(line) <= 88 for line in advice)


def test_step(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    with report.step("one") as step:
        step.text = "done"
    with pytest.raises(OSError), report.step("two"):
        raise OSError
    assert report.doing == "two"
    report.failure("lost", "Look for it.")
    output = capsys.readouterr().out
    assert re.fullmatch(
        r"one +done +\d+\.\d ms\ntwo +FAILED: lost +\d+\.\d ms\n +Look for it\.\n", output
    )
