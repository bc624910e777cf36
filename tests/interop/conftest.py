"""What the interoperability tests share: certificates, and ways to reach each other."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.interop.foreign import LIBRARIES, Link


@pytest.fixture(scope="session")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for a server that is 127.0.0.1, and for clients that trust it."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    # `websockets.sync` reads and writes in two threads, for which OpenSSL's connections are not
    # made: a session ticket that arrives while it writes may break its connection.
    server.num_tickets = 0
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


@pytest.fixture(params=["tcp", "tls", "unix", "unix-tls"])
def link(request: pytest.FixtureRequest, contexts: Any, tmp_path: Path) -> Link:
    """Each way to reach each other."""
    path = str(tmp_path / "socket") if "unix" in request.param else None
    return Link(path, *(contexts if "tls" in request.param else (None, None)))


@pytest.fixture(params=list(LIBRARIES))
def library(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Each of the foreign libraries that can be servers and clients."""
    library = LIBRARIES[request.param]()
    yield library
    library.close()
