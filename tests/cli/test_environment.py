"""Tests of geventws.cli.environment: what runs here."""

from __future__ import annotations

import platform
import ssl
from importlib import metadata

import gevent
import greenlet
import pytest

from geventws.build import build_name
from geventws.cli.environment import examine_environment
from geventws.cli.report import Report


def facts(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    report = Report()
    examine_environment(report)
    assert report.problems == 0
    lines = capsys.readouterr().out.splitlines()
    return {name: text for name, text in (line.split(None, 1) for line in lines)}


def test_versions(capsys: pytest.CaptureFixture[str]) -> None:
    found = facts(capsys)
    assert found["geventws"].startswith(f"{metadata.version('geventws')} ({build_name()}")
    assert platform.python_version() in found["Python"]
    assert found["gevent"].startswith(f"{gevent.__version__}, loop lib")
    assert found["greenlet"] == greenlet.__version__
    assert found["OpenSSL"] == ssl.OPENSSL_VERSION


def test_extras(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    extras = facts(capsys)["extras"]
    assert f"flask: flask {metadata.version('flask')}" in extras
    # Those of developers are of no interest.
    assert "test:" not in extras and "bench:" not in extras
    requirements = ["gevent>=1", 'flask>=3; extra == "web"', "no-such[x]>=1 ; extra == 'web'"]
    monkeypatch.setattr(metadata, "requires", lambda name: requirements)
    expected = f"web: flask {metadata.version('flask')}, no no-such"
    assert facts(capsys)["extras"] == expected


def test_folder_that_was_not_installed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    assert facts(capsys)["extras"].startswith("unknown: ")
