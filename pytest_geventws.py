"""A plugin for pytest: `ws_server` and `ws_pair`, see geventws.testing.

It is a module beside the package, and imports the package only when a fixture is used: pytest
loads plugins at its start, and gevent in a process that did not ask for it would be a surprise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from geventws import ClientConnection, ServerConnection
    from geventws.testing import RunningServer


@pytest.fixture
def ws_server() -> Iterator[Callable[..., RunningServer]]:
    """Start servers: ``ws_server(handler, **options)`` gives one that runs until the test ends."""
    from geventws.testing import RunningServer

    with contextlib.ExitStack() as stack:

        def start(handler: Callable[[Any], object], **options: Any) -> RunningServer:
            return stack.enter_context(RunningServer(handler, **options))

        yield start


@pytest.fixture
def ws_pair() -> Iterator[tuple[ClientConnection, ServerConnection]]:
    """Both ends of one connection in memory, the client's first."""
    from geventws.testing import connection_pair

    with connection_pair() as pair:
        yield pair
