"""What `make compliance` runs, and that it notices what is not as expected."""

from __future__ import annotations

from collections import Counter

from tests.compliance.__main__ import differences, load_expected, plan

EVERYTHING = load_expected(all_cases=True)
DEFAULT = load_expected(all_cases=False)


def test_expects_the_best_of_all_cases() -> None:
    """As many cases as Autobahn|Testsuite 25.10.1 has; nothing but 7.1.6 and 7.13 is informal."""
    assert Counter(case.partition(".")[0] for case in EVERYTHING) == {
        **{"1": 16, "2": 11, "3": 7, "4": 10, "5": 20, "6": 145, "7": 37, "9": 54, "10": 1},
        **{"12": 90, "13": 126},
    }
    informal = {case for case, found in EVERYTHING.items() if found[0] == "INFORMATIONAL"}
    assert informal == {"7.1.6", "7.13.1", "7.13.2"}
    assert all(found[0] == "OK" for case, found in EVERYTHING.items() if case not in informal)
    assert all(found[1] in ("OK", "INFORMATIONAL") for found in EVERYTHING.values())


def test_sends_close_codes() -> None:
    """Autobahn|Testsuite accepts whoever sends none; only 7.3.1 wants none."""
    assert [case for case, (_, _, code) in EVERYTHING.items() if code is None] == ["7.3.1"]


def test_every_case_is_run_on_both_sides_of_both_builds() -> None:
    runs = Counter(
        (examination.build, examination.role, case)
        for examination in plan(list(DEFAULT), ("compiled", "plain Python"))
        for case in examination.cases
    )
    assert set(runs.values()) == {1}
    for role in ("client", "server"):
        assert sum(run[:2] == ("compiled", role) for run in runs) == 301 + 108
        assert sum(run[:2] == ("plain Python", role) for run in runs) == 301


def test_differences_are_noticed() -> None:
    good = ["OK", "OK", 1000]
    expected = {"1.1.1": good, "1.1.2": good, "1.1.3": good}
    assert differences(expected, expected) == []
    assert len(differences(expected, {**expected, "1.1.1": ["OK", "OK", None]})) == 1
    assert len(differences(expected, {**expected, "1.1.1": ["NON-STRICT", "OK", 1000]})) == 1
    assert len(differences(expected, {"1.1.1": good, "1.1.2": good})) == 1
    assert len(differences(expected, {**expected, "9.9.9": good})) == 1
    assert len(differences(expected, {})) == 3
