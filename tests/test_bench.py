"""The benchmark asks what it promises to, and runs."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys

import pytest

from tests.bench.corpus import CORPUS, SIZE, make_message
from tests.bench.scenario import Bar, Metric, Scenario, load_scenarios
from tests.bench.table import show

SCENARIOS = load_scenarios()
COST = Metric("cpu", "CPU", 1, compared=True)


def test_every_question_is_asked() -> None:
    assert {scenario.letter for scenario in SCENARIOS} == set("abcdefghijkl")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: str(scenario.question))
def test_bars_are_about_what_is_measured(scenario: Scenario) -> None:
    assert scenario.subject in scenario.candidates
    assert scenario.bars
    for bar in scenario.bars:
        assert bar.metric in scenario.metrics
        assert bar.against is None or bar.against in scenario.candidates


def test_table_compares_and_shows_bars() -> None:
    scenario = Scenario(
        letter="x",
        question="",
        candidates=["geventws", "peer", "absent"],
        measure=lambda bench, name: {},
        metrics=[COST],
        bars=[Bar(COST, 0.5, "peer"), Bar(COST, 9), Bar(COST, 1, "absent", at_least=True)],
    )
    table = show(scenario, {"geventws": {"cpu": 6.0}, "peer": {"cpu": 8.0}})
    assert [line.split() for line in table.splitlines()] == [
        "CPU (ours is)".split(),
        "geventws 6.0 1.00 x".split(),
        "peer 8.0 0.75 x".split(),
        "CPU: bar <= 0.50 x peer, measured 0.75".split(),
        "CPU: bar <= 9.00, measured 6.00".split(),
    ]


def test_corpus_is_what_its_script_makes() -> None:
    dice = random.Random(6455)
    lines = CORPUS.read_text("utf-8").splitlines()
    assert lines == [make_message(dice, number) for number in range(len(lines))]
    assert len(set(lines)) == len(lines)
    assert {len(line.encode()) for line in lines} == {SIZE}


@pytest.mark.deadline(120)
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_benchmark_runs() -> None:
    command = [sys.executable, "-m", "tests.bench", "--quick", "--only", "e,i,j"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert result.returncode == 0, result.stderr
    for bar in ("bar <= 0.80 x websockets", "bar <= 0.05 x websocket-client", "bar <= 0.50 x"):
        assert bar in result.stdout, result.stdout
    assert "picows on uvloop" in result.stdout


def test_unknown_question_is_refused() -> None:
    command = [sys.executable, "-m", "tests.bench", "--only", "z"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert result.returncode == 1
    assert result.stderr == "no question z: choose from a,b,c,d,e,f,g,h,i,j,k,l\n"
