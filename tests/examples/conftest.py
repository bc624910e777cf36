"""A browser for all tests of examples: it takes seconds to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium import webdriver

from tests.examples.support import browser_in


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with browser_in(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def browser(chromium: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """The browser; tabs that a test opens in it are closed behind it."""
    first = chromium.current_window_handle
    yield chromium
    for handle in chromium.window_handles:
        if handle != first:
            chromium.switch_to.window(handle)
            chromium.close()
    chromium.switch_to.window(first)
