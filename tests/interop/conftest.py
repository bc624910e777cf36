"""What the interoperability tests share: certificates, and ways to reach each other."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.interop.foreign import LIBRARIES, Link
from tests.interop.suite import Certificates, Peer, parametrize


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """TLS for a server that is 127.0.0.1, and for clients that trust it."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    # `websockets.sync` reads and writes in two threads, for which OpenSSL's connections are not
    # made: a session ticket that arrives while it writes may break its connection.
    server.num_tickets = 0
    certificate.configure_cert(server)
    authority.configure_trust(client)
    paths = [tmp_path_factory.mktemp("tls") / name for name in ("certificate", "authority")]
    certificate.private_key_and_cert_chain_pem.write_to_path(paths[0])
    authority.cert_pem.write_to_path(paths[1])
    return server, client, *map(str, paths)


@pytest.fixture(scope="session")
def contexts(certificates: Certificates) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for a server and for a client."""
    return certificates[:2]


@pytest.fixture(scope="class")
def peer(request: pytest.FixtureRequest, certificates: Certificates) -> Iterator[Peer]:
    """The process of the class's peer."""
    peer = Peer(request.cls.command, certificates)
    yield peer
    peer.end()


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
