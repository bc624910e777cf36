"""What every test gets: the run's settings, a deadline, and a look at what is left open.

Environment variables that choose how the suite runs (the Makefile sets them):

``GEVENTWS_TEST_PATCH=1``
    everything runs under ``gevent.monkey.patch_all()``;
``GEVENTWS_TEST_DEBUG=1``
    the ``geventws`` loggers are at DEBUG, which selects another read path;
``GEVENTWS_TEST_LONG=1``
    more of the same, where `make test` has no time for it: see `make faults` and `make load`;
``GEVENTWS_NO_SKIP=1``, or ``CI``
    a skipped test fails the run.
"""

from __future__ import annotations

import os
import threading

from tests.tracing import trace_native_threads, trace_switches

# Coverage measures this run.
if threading.gettrace() is not None:
    trace_native_threads()
    trace_switches()

if os.environ.get("GEVENTWS_TEST_PATCH") == "1":
    from gevent import monkey

    monkey.patch_all()

import contextlib
import gc
import logging
from collections.abc import Iterator

import gevent
import pytest

# Servers on this machine are connected to without a proxy, whatever the machine wants.
for name in list(os.environ):
    if name.lower().endswith("_proxy"):
        del os.environ[name]

# Seconds that a test may take where it has no `deadline` marker: many times what the
# slowest of them needs on a busy machine.
DEADLINE = 30.0

# Seconds that sockets get to disappear after a test: the last steps of a connection happen
# in a greenlet, or in a foreign library's thread.
CLOSING_TIME = 2.0

NO_SKIP = bool(os.environ.get("CI")) or os.environ.get("GEVENTWS_NO_SKIP") == "1"

if os.environ.get("GEVENTWS_TEST_DEBUG") == "1":
    logging.getLogger("geventws").setLevel(logging.DEBUG)


class Deadline(gevent.Timeout):
    """A test took too long. No ``Exception``, so no ``except Exception`` hides it."""

    def __str__(self) -> str:
        return f"the test did not end within {self.seconds} seconds"


@pytest.fixture(autouse=True)
def deadline(request: pytest.FixtureRequest) -> Iterator[None]:
    """Interrupt a test that waits in gevent for longer than its deadline.

    The timeout strikes in the main greenlet, where pytest runs. A test that blocks natively
    is ended by pytest's ``faulthandler_timeout``.
    """
    marker = request.node.get_closest_marker("deadline")
    with Deadline(marker.args[0] if marker else DEADLINE):
        yield


@pytest.fixture(autouse=True)
def no_socket_left_open(request: pytest.FixtureRequest, deadline: None) -> Iterator[None]:
    """Fail a test of ``net``, ``wsgi`` or ``compat`` that leaves a socket open in this process."""
    if not {"net", "wsgi", "compat", "faults", "load"} & set(
        request.path.relative_to(request.config.rootpath).parts
    ):
        yield
        return
    before = open_sockets()
    yield
    leaked = open_sockets() - before
    if leaked:
        gc.collect()
    try:
        with gevent.Timeout(CLOSING_TIME):
            while leaked := open_sockets() - before:
                gevent.sleep(0.01)
    except gevent.Timeout:
        pytest.fail(f"the test left {len(leaked)} socket(s) open: {', '.join(sorted(leaked))}")


def open_sockets() -> set[str]:
    """The sockets of this process, as ``socket:[inode]``."""
    return {target for target in open_descriptors() if target.startswith("socket:")}


def open_descriptors() -> list[str]:
    """What the descriptors of this process stand for; nothing where there is no /proc."""
    targets = []
    if os.path.isdir("/proc/self/fd"):
        for descriptor in os.listdir("/proc/self/fd"):
            # listdir's own descriptor is no more.
            with contextlib.suppress(FileNotFoundError):
                targets.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return targets


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over the modules and the tests themselves.

    There are a million objects of them, and many tests look for what they have left behind: it
    takes them a few milliseconds instead of half a second.
    """
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where nothing may be skipped, a skipped test fails the run."""
    if NO_SKIP and session.exitstatus == pytest.ExitCode.OK and skipped(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that had to run and did not."""
    if NO_SKIP and (names := skipped(terminalreporter.config)):
        terminalreporter.section("skipped tests are failures in this run", red=True)
        for name in names:
            terminalreporter.line(name)


def skipped(config: pytest.Config) -> list[str]:
    """The names of the tests, and of the modules, that were skipped so far."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return [report.nodeid for report in reporter.stats.get("skipped", [])]
