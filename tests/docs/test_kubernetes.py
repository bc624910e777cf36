"""docs/howto/kubernetes.rst: the deployment fits the program."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT, page_blocks

PROGRAM, *_, DEPLOYMENT = [
    block.code for block in page_blocks("docs/howto/kubernetes.rst") if not block.hidden
]


def test_probes_are_answered_by_the_program() -> None:
    paths = re.findall(r"httpGet: \{path: (\S+), port: (\d+)\}", DEPLOYMENT)
    assert [path for path, _ in paths] == re.findall(r'request.path == "(\S+)"', PROGRAM)
    assert {port for _, port in paths} == set(re.findall(r'"", (\d+)', PROGRAM))
    assert f"containerPort: {paths[0][1]}" in DEPLOYMENT


def test_there_is_time_to_stop() -> None:
    (grace,) = re.findall(r"terminationGracePeriodSeconds: (\d+)", DEPLOYMENT)
    needed = re.findall(r"(?:sleep\(|timeout=)(\d+)\)", PROGRAM)
    assert len(needed) == 2 and sum(map(int, needed)) < int(grace)


def test_indentation_is_that_of_yaml() -> None:
    for line in (ROOT / "docs/howto/kubernetes.rst").read_text("utf-8").splitlines():
        assert "\t" not in line
    assert all(len(re.match(" *", line)[0]) % 2 == 0 for line in DEPLOYMENT.splitlines())
