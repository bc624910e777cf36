"""TLS: every kind of context, what breaks in its handshake and after, and how it ends."""

from __future__ import annotations

import _ssl
import contextlib
import os
import shutil
import socket as stdlib_socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.ssl
import pytest
import trustme
from gevent import socket, subprocess
from gevent.event import Event
from gevent.monkey import get_original
from gevent.queue import Queue

import geventws
from geventws.core.frames import Opcode
from geventws.core.states import Side
from geventws.net.hubs import get_hub_state
from geventws.net.tls import TLS_CHUNK, TLSTransport
from geventws.net.transport import Transport, own_socket
from geventws.testing import RawClient, RawPeer, RawServer
from tests.net.support import client_tls, receive, receive_all, server_tls

# In a patched process the module `ssl` has gevent's; both kinds must work in both.
KINDS = {"gevent": gevent.ssl.SSLContext, "stdlib": get_original("ssl", "SSLContext")}

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

both_versions = pytest.mark.parametrize("version", list(VERSIONS))

# The largest plaintext of a record.
RECORD = 16384


class Certificates:
    """An authority, and what it has certified, as files."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.trusted = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.trusted)
        self.server = self.issue(folder, "localhost")
        self.client = self.issue(folder, "client@example.org")

    def issue(self, folder: Path, name: str) -> str:
        """Issue a certificate; return the path of it and its key."""
        path = str(folder / f"{name}.pem")
        self.authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(path)
        return path

    def for_server(self, kind: str = "gevent", version: str | None = None) -> Any:
        """Return a server's context."""
        context = KINDS[kind](ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server)
        return with_version(context, version)

    def for_client(self, kind: str = "gevent", version: str | None = None) -> Any:
        """Return a client's context, which verifies."""
        context = KINDS[kind](ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.trusted)
        return with_version(context, version)


def with_version(context: Any, version: str | None) -> Any:
    """Allow one version only."""
    if version is not None:
        # Around the property of the standard library's class, which fails where it is not the
        # one named `ssl.SSLContext` any more.
        for limit in "minimum_version", "maximum_version":
            vars(_ssl._SSLContext)[limit].__set__(context, VERSIONS[version])
    return context


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def echo(ws: Any) -> None:
    for message in ws:
        ws.send(message)


@contextlib.contextmanager
def serving(
    context: Any, handler: Callable[[Any], object] = echo, **options: Any
) -> Iterator[geventws.Server]:
    """Run a server on a free port."""
    with geventws.serve(handler, "127.0.0.1", 0, ssl=context, **options) as server:
        yield server


def uri(server: Any, scheme: str = "wss", host: str = "localhost") -> str:
    """Where to reach a server, `RawServer` included."""
    return f"{scheme}://{host}:{server.address[1]}/"


def assert_serves(server: geventws.Server, certificates: Certificates) -> None:
    """Whatever happened before, the next client gets its echo."""
    with geventws.connect(uri(server), ssl=certificates.for_client()) as ws:
        ws.send("still there?")
        assert ws.recv(timeout=5) == "still there?"


def wrap(sock: Any, context: Any, side: Side) -> Any:
    """Do the TLS handshake; an end without a close_notify is an error."""
    server = side is Side.SERVER
    hostname = None if server else "localhost"
    return context.wrap_socket(sock, server, suppress_ragged_eofs=False, server_hostname=hostname)


class TLSClient(RawClient):
    """A client under the test's control."""

    def __init__(self, server: geventws.Server, context: Any, open: bool = True) -> None:
        sock = wrap(socket.create_connection(server.address), context, Side.CLIENT)
        RawPeer.__init__(self, sock, Side.CLIENT)
        if open:
            self.send_bytes(self.request())
            self.response = self.recv_response()


def accept_tls(server: RawServer, context: Any, data: bytes = b"") -> RawPeer:
    """Accept a client of ours; send data in the same record as the response."""
    sock, _ = server.listener.accept()
    peer = RawPeer(wrap(sock, context, Side.SERVER), Side.SERVER)
    peer.send_bytes(server.response(server.recv_request(peer)) + data)
    return peer


@contextlib.contextmanager
def raw_client(
    certificates: Certificates, version: str = "1.3", **options: Any
) -> Iterator[tuple[Any, RawPeer]]:
    """Yield our server's end and a raw client."""
    accepted: Queue[Any] = Queue()

    def handler(ws: Any) -> None:
        accepted.put(ws)
        ws.wait_closed()

    with (
        serving(certificates.for_server(), handler, **options) as server,
        TLSClient(server, certificates.for_client(version=version)) as peer,
    ):
        yield accepted.get(timeout=5), peer


@contextlib.contextmanager
def raw_server(
    certificates: Certificates, version: str = "1.3", **options: Any
) -> Iterator[tuple[Any, RawPeer]]:
    """Yield our client's end and a raw server."""
    with RawServer() as server:
        connecting = gevent.spawn(
            geventws.connect, uri(server), ssl=certificates.for_client(), **options
        )
        with accept_tls(server, certificates.for_server(version=version)) as peer:
            ws = connecting.get(timeout=5)
            try:
                yield ws, peer
            finally:
                peer.close()
                ws.close()


@pytest.fixture(params=[raw_client, raw_server], ids=["server", "client"])
def against_raw(request: pytest.FixtureRequest) -> Any:
    """Makes a connection of our server, or our client, to a raw peer."""
    return request.param


# Contexts.


@both_versions
@pytest.mark.parametrize("server_kind", list(KINDS))
@pytest.mark.parametrize("client_kind", list(KINDS))
def test_contexts(
    certificates: Certificates, server_kind: str, client_kind: str, version: str
) -> None:
    with (
        serving(certificates.for_server(server_kind)) as server,
        geventws.connect(uri(server), ssl=certificates.for_client(client_kind, version)) as ws,
    ):
        assert ws._transport.tls.version() == f"TLSv{version}"
        for message in ["", "Grüße", b"\x00" * RECORD, os.urandom(10**6)]:
            ws.send(message)
            assert ws.recv(timeout=5) == message


def test_default_context_does_not_trust_everybody(certificates: Certificates) -> None:
    with serving(certificates.for_server()) as server:
        with pytest.raises(ssl.SSLCertVerificationError, match="self-signed|unable to get"):
            geventws.connect(uri(server))
        assert_serves(server, certificates)


@pytest.mark.parametrize("options", [{}, {"server_hostname": "example.org"}], ids=str)
def test_certificate_for_another_host(certificates: Certificates, options: dict[str, str]) -> None:
    host = "localhost" if options else "127.0.0.1"
    with serving(certificates.for_server()) as server:
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch|not valid for"):
            geventws.connect(uri(server, host=host), ssl=certificates.for_client(), **options)
        assert_serves(server, certificates)


@pytest.mark.parametrize("kind", list(KINDS))
def test_server_with_several_names(certificates: Certificates, kind: str) -> None:
    """A server's callback is told whom the certificate must name, and chooses a context."""
    names = []
    chosen = certificates.for_server(kind)

    def choose(tls: Any, name: str | None, context: Any) -> None:
        names.append(name)
        tls.context = chosen

    # A context without a certificate.
    context = KINDS[kind](ssl.PROTOCOL_TLS_SERVER)
    context.set_servername_callback(choose)
    with serving(context) as server:
        for host in "localhost", "127.0.0.1":
            geventws.connect(
                uri(server, host=host), ssl=certificates.for_client(), server_hostname="localhost"
            ).close()
    assert names == ["localhost"] * 2


@both_versions
def test_client_certificates(certificates: Certificates, version: str) -> None:
    """A client without a certificate learns why it is refused, with one it is served."""
    context = certificates.for_server()
    context.load_verify_locations(certificates.trusted)
    context.verify_mode = ssl.CERT_REQUIRED
    with serving(context) as server:
        client = certificates.for_client(version=version)
        with pytest.raises(ssl.SSLError, match="(?i)certificate.required|handshake.failure"):
            geventws.connect(uri(server), ssl=client)
        client.load_cert_chain(certificates.client)
        with geventws.connect(uri(server), ssl=client) as ws:
            ws.send("it is me")
            assert ws.recv(timeout=5) == "it is me"
            (accepted,) = server.connections
            for end in (ws, accepted):
                assert end.ssl_object is not None and end.ssl_object.getpeercert()
    with geventws.serve(lambda ws: ws.recv(), "127.0.0.1", 0) as server:
        with geventws.connect(f"ws://127.0.0.1:{server.address[1]}/") as ws:
            assert ws.ssl_object is None


@pytest.mark.parametrize(("ours", "selected"), [(None, None), (["http/1.1"], "http/1.1")], ids=str)
def test_alpn_is_the_users_business(
    certificates: Certificates, ours: list[str] | None, selected: str | None
) -> None:
    """Neither end offers or selects what its context does not say."""
    ours_context, theirs_context = certificates.for_client(), certificates.for_server()
    theirs_context.set_alpn_protocols(["h2", "http/1.1"])
    if ours:
        ours_context.set_alpn_protocols(ours)
    with RawServer() as server:
        connecting = gevent.spawn(geventws.connect, uri(server), ssl=ours_context)
        with accept_tls(server, theirs_context) as peer:
            ws = connecting.get(timeout=5)
            assert peer.sock.selected_alpn_protocol() == selected
        ws.close()
    ours_context, theirs_context = certificates.for_server(), certificates.for_client()
    theirs_context.set_alpn_protocols(["h2", "http/1.1"])
    if ours:
        ours_context.set_alpn_protocols(ours)
    with serving(ours_context) as our_server, TLSClient(our_server, theirs_context) as peer:
        assert peer.sock.selected_alpn_protocol() == selected


# Sockets.


@pytest.mark.parametrize("module", [socket, stdlib_socket], ids=["gevent", "stdlib"])
def test_sock(certificates: Certificates, module: Any) -> None:
    with serving(certificates.for_server()) as server:
        sock = module.create_connection(server.address)
        with geventws.connect("wss://localhost/", sock=sock, ssl=certificates.for_client()) as ws:
            ws.send("on a socket of my own")
            assert ws.recv(timeout=5) == "on a socket of my own"
        sock.close()


@pytest.mark.parametrize("module", [gevent.ssl, ssl], ids=["gevent", "stdlib"])
def test_sock_with_tls_of_its_own(module: Any) -> None:
    with module.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(
        stdlib_socket.socket(), server_hostname="localhost"
    ) as sock:
        with pytest.raises(TypeError, match="before TLS"):
            geventws.connect("wss://localhost/", sock=sock)


def test_unix_sockets(certificates: Certificates, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with (
        geventws.unix_serve(echo, path, ssl=certificates.for_server()),
        geventws.unix_connect(path, ssl=certificates.for_client()) as ws,
    ):
        ws.send("as on TCP")
        assert ws.recv(timeout=5) == "as on TCP"


# Handshakes that fail.


NO_HELLO = {
    "HTTP": RawClient.request(),
    "garbage": b"\x16\x03\x01\x00\x20" + b"\xff" * 32,
    "no TLS at all": b"\x00" * 1000,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("data", NO_HELLO.values(), ids=NO_HELLO.keys())
def test_no_tls_on_a_tls_port(certificates: Certificates, data: bytes) -> None:
    with serving(certificates.for_server()) as server:
        with RawClient(server.address, open=False) as peer:
            peer.send_bytes(data)
            peer.recv_eof()
        assert_serves(server, certificates)


def test_ws_client_on_a_tls_port(certificates: Certificates) -> None:
    with serving(certificates.for_server()) as server:
        with pytest.raises((geventws.InvalidMessage, ConnectionError)):
            geventws.connect(uri(server, "ws"))
        assert_serves(server, certificates)


def test_wss_client_on_a_plain_port(certificates: Certificates) -> None:
    with geventws.serve(echo, "127.0.0.1", 0) as server:
        with pytest.raises(ssl.SSLError):
            geventws.connect(uri(server), ssl=certificates.for_client())
        with geventws.connect(uri(server, "ws")) as ws:
            ws.send("plain")
            assert ws.recv(timeout=5) == "plain"


@pytest.mark.parametrize("hello", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"], ids=len)
def test_client_stalls_in_the_handshake(certificates: Certificates, hello: bytes) -> None:
    """It is given up after `open_timeout`; others are served in the meantime."""
    with serving(certificates.for_server(), open_timeout=0.5) as server:
        with RawClient(server.address, open=False) as peer:
            peer.send_bytes(hello)
            assert_serves(server, certificates)
            assert peer.recv_eof()
        assert_serves(server, certificates)


def test_server_stalls_in_the_handshake(certificates: Certificates) -> None:
    with RawServer() as server:
        with pytest.raises(TimeoutError, match="TLS handshake"):
            geventws.connect(uri(server), ssl=certificates.for_client(), open_timeout=0.2)


def test_server_hangs_up_in_the_handshake(certificates: Certificates) -> None:
    with RawServer() as server:
        connecting = gevent.spawn(geventws.connect, uri(server), ssl=certificates.for_client())
        peer, _ = server.listener.accept()
        assert peer.recv(RECORD)
        peer.close()
        with pytest.raises(OSError):
            connecting.get(timeout=5)


def test_shutdown_ends_handshakes(certificates: Certificates) -> None:
    with serving(certificates.for_server()) as server:
        with RawClient(server.address, open=False) as peer:
            assert_serves(server, certificates)
            server.shutdown()
            peer.recv_eof()


# Data.


def test_frames_in_the_record_of_the_request(certificates: Certificates) -> None:
    with (
        serving(certificates.for_server()) as server,
        TLSClient(server, certificates.for_client(), open=False) as peer,
    ):
        frames = [peer.frame(Opcode.TEXT, b"early"), peer.frame(Opcode.BINARY, b"too")]
        peer.send_bytes(peer.request() + b"".join(frames))
        assert peer.recv_response().status_code == 101
        assert [peer.recv_frame().data for _ in frames] == [b"early", b"too"]


def test_frames_in_the_record_of_the_response(certificates: Certificates) -> None:
    with RawServer() as server:
        connecting = gevent.spawn(geventws.connect, uri(server), ssl=certificates.for_client())
        # A close frame among them, so that all has arrived when it is noticed.
        data = b"\x81\x05early" + b"\x82\x03too" + b"\x88\x02\x03\xe8"
        with accept_tls(server, certificates.for_server(), data) as peer:
            ws = connecting.get(timeout=5)
            assert list(ws_until_closed(ws, peer)) == ["early", b"too"]


def ws_until_closed(ws: Any, peer: RawPeer) -> Iterator[str | bytes]:
    """Yield messages until the closing handshake, whose TCP part is the peer's."""
    yield from (ws.recv(timeout=5) for _ in range(2))
    assert peer.recv_close() is not None
    peer.close()
    assert ws.wait_closed(5)
    assert ws.close_code == 1000


@both_versions
def test_big_messages_both_ways_at_once(certificates: Certificates, version: str) -> None:
    up, down = os.urandom(8 * 2**20), os.urandom(8 * 2**20)
    received: Queue[bytes] = Queue()

    def handler(ws: Any) -> None:
        sending = gevent.spawn(ws.send, down)
        received.put(ws.recv())
        sending.get()

    with (
        serving(certificates.for_server(), handler, max_size=None) as server,
        geventws.connect(
            uri(server), ssl=certificates.for_client(version=version), max_size=None
        ) as ws,
    ):
        sending = gevent.spawn(ws.send, up)
        assert ws.recv(timeout=20) == down
        sending.get(timeout=20)
        assert received.get(timeout=20) == up


@pytest.mark.parametrize("count", [3, 500, 5_000])
def test_many_messages_in_few_records(
    against_raw: Any, certificates: Certificates, count: int
) -> None:
    """What waits in our buffers or in the TLS layer needs no new event to be read."""
    with against_raw(certificates, max_queue=2) as (ws, peer):
        frames = b"".join(peer.frame(Opcode.TEXT, b"%d" % number) for number in range(count))
        # Where they do not fit the sockets' buffers, sending ends with receiving.
        sending = gevent.spawn(peer.send_bytes, frames)
        if count == 3:
            sending.join()
        assert [ws.recv(timeout=5) for _ in range(count)] == [str(n) for n in range(count)]
        sending.get()


def test_peer_that_does_not_read(against_raw: Any, certificates: Certificates) -> None:
    """Sending waits; when the peer reads at last, it gets all of it."""
    with against_raw(certificates) as (ws, peer):
        sending = gevent.spawn(lambda: [ws.send(b"%08d" % n * 8192) for n in range(200)])
        sending.join(timeout=0.2)
        assert not sending.ready()
        for number in range(200):
            frame = peer.recv_frame()
            assert frame.data == b"%08d" % number * 8192
        sending.get(timeout=5)


@pytest.mark.parametrize("way", ["timeout", "kill"])
@both_versions
def test_interrupted_send(
    against_raw: Any, certificates: Certificates, version: str, way: str
) -> None:
    """An interrupted `send` sent all or nothing, and the stream goes on."""
    with against_raw(certificates, version) as (ws, peer):
        sent = []

        def send_all() -> None:
            for number in range(1000):
                ws.send(b"%08d" % number * 8192)
                sent.append(number)

        if way == "kill":
            sending = gevent.spawn(send_all)
            sending.join(timeout=0.2)
            sending.kill()
        else:
            with gevent.Timeout(0.2, False):
                send_all()
        assert 0 < len(sent) < 1000
        finishing = gevent.spawn(ws.send, "after it")
        for number in sent:
            assert peer.recv_frame().data == b"%08d" % number * 8192
        assert peer.recv_frame().data == b"after it"
        finishing.get(timeout=5)
        peer.send_frame(Opcode.TEXT, b"and back")
        assert ws.recv(timeout=5) == "and back"


# The end.


@both_versions
def test_our_server_sends_close_notify(certificates: Certificates, version: str) -> None:
    with raw_client(certificates, version) as (ws, peer):
        gevent.spawn(ws.close)
        assert peer.recv_close().data == b"\x03\xe8"
        peer.send_frame(Opcode.CLOSE, b"\x03\xe8")
        # Without a close_notify it would raise SSLEOFError.
        assert peer.sock.recv(1) == b""


@both_versions
def test_our_client_sends_close_notify(certificates: Certificates, version: str) -> None:
    with raw_server(certificates, version) as (ws, peer):
        gevent.spawn(ws.close)
        assert peer.recv_close().data == b"\x03\xe8"
        peer.send_frame(Opcode.CLOSE, b"\x03\xe8")
        # It waits for the client's close_notify.
        peer.sock.unwrap().close()
        assert ws.wait_closed(5)
        assert ws.close_code == 1000


def tcp(peer: RawPeer) -> Any:
    """The TCP socket below TLS: the C object of gevent's."""
    return peer.sock._sock


def cut(peer: RawPeer) -> None:
    """End TCP without a close_notify."""
    tcp(peer).shutdown(stdlib_socket.SHUT_WR)


def truncate(peer: RawPeer) -> None:
    """End TCP within a record."""
    tcp(peer).send(b"\x17\x03\x03\x40\x00" + b"x" * 100)
    cut(peer)


def forge(peer: RawPeer) -> None:
    """Send a record that nobody encrypted."""
    tcp(peer).send(b"\x17\x03\x03\x00\x40" + b"x" * 64)


def babble(peer: RawPeer) -> None:
    """Send what is no record."""
    tcp(peer).send(b"HTTP/1.1 200 OK\r\n\r\n")


@both_versions
@pytest.mark.parametrize("end", [cut, truncate, forge, babble], ids=lambda end: end.__name__)
def test_ends_that_are_none(
    against_raw: Any, certificates: Certificates, version: str, end: Callable[[RawPeer], None]
) -> None:
    """However the stream breaks off, what arrived before is read, then the error is clear."""
    with against_raw(certificates, version) as (ws, peer):
        peer.send_frame(Opcode.TEXT, b"last words")
        end(peer)
        assert ws.recv(timeout=5) == "last words"
        with pytest.raises(geventws.ConnectionClosedError) as caught:
            ws.recv(timeout=5)
        assert caught.value.rcvd is None
        assert ws.close_code == 1006
        if end in (forge, babble):
            assert isinstance(caught.value.__cause__, ssl.SSLError)


@both_versions
def test_close_notify_without_a_close_frame(
    against_raw: Any, certificates: Certificates, version: str
) -> None:
    with against_raw(certificates, version) as (ws, peer):
        peer.send_frame(Opcode.TEXT, b"last words")
        unwrapping = gevent.spawn(peer.sock.unwrap)
        assert ws.recv(timeout=5) == "last words"
        with pytest.raises(geventws.ConnectionClosedError):
            ws.recv(timeout=5)
        assert ws.close_code == 1006
        unwrapping.get(timeout=5)


# New keys in the middle of a session, which Python's ssl cannot ask for.


class OpenSSL(RawClient):
    """A client that is the command `openssl s_client`, which obeys commands, too."""

    def __init__(self, server: geventws.Server, certificates: Certificates, *options: str) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            pytest.skip("the command openssl is not installed")
        host, port = server.address
        sock, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            # It prints nothing of its own but to standard error.
            [openssl, "s_client", "-quiet", "-no_ign_eof", "-connect", f"{host}:{port}"]
            + ["-servername", "localhost", "-CAfile", certificates.trusted, *options],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.PIPE,
        )
        theirs.close()
        RawPeer.__init__(self, sock, Side.CLIENT)
        self.send_bytes(self.request())
        assert self.recv_response().status_code == 101

    def command(self, letter: bytes, answer: bytes) -> None:
        """Give a command and wait until it is obeyed."""
        self.send_bytes(letter + b"\n")
        while answer not in (line := self.process.stderr.readline()):
            assert line, "openssl ended"

    def close(self) -> None:
        super().close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        self.process.stderr.close()


def test_key_update(certificates: Certificates) -> None:
    """New keys for one direction (k) and for both (K); messages before, between, and after."""
    with (
        serving(certificates.for_server()) as server,
        OpenSSL(server, certificates, "-tls1_3") as peer,
    ):
        for command in b"k", b"K", b"K", b"k":
            peer.send_frame(Opcode.BINARY, b"before " + command)
            assert peer.recv_frame().data == b"before " + command
            peer.command(command, b"KEYUPDATE")
        # More than it reads at once might hold a command's letter where it looks for one.
        peer.send_frame(Opcode.BINARY, b"x" * 5000)
        assert peer.recv_frame().data == b"x" * 5000


def test_key_update_while_the_application_is_busy(certificates: Certificates) -> None:
    """It is answered like a ping, without the application."""
    busy = Event()
    with (
        serving(certificates.for_server(), lambda ws: busy.wait()) as server,
        OpenSSL(server, certificates, "-tls1_3") as peer,
    ):
        for _ in range(3):
            peer.command(b"K", b"KEYUPDATE")
            peer.send_frame(Opcode.PING, b"alive?")
            assert peer.recv_frame().data == b"alive?"
        busy.set()
        assert peer.recv_close() is not None


def test_versions_are_those_of_the_context(certificates: Certificates) -> None:
    """A client that speaks no version of the server's is turned away, and others are served."""
    with serving(certificates.for_server(version="1.3")) as server:
        with pytest.raises(ssl.SSLError, match="(?i)alert protocol version"):
            geventws.connect(uri(server), ssl=certificates.for_client(version="1.2"))
        assert_serves(server, certificates)


def test_renegotiation_is_refused(certificates: Certificates) -> None:
    """TLS 1.2 can renegotiate, to no good end: the connection fails, and others are served."""
    ended = Event()

    def handler(ws: Any) -> None:
        try:
            echo(ws)
        finally:
            ended.set()

    with serving(certificates.for_server(), handler) as server:
        with OpenSSL(server, certificates, "-tls1_2") as peer:
            peer.send_frame(Opcode.TEXT, b"before")
            assert peer.recv_frame().data == b"before"
            peer.command(b"R", b"RENEGOTIATING")
            assert peer.recv_frame() is None
            assert ended.wait(timeout=5)
        assert_serves(server, certificates)


# The transport by itself.


@pytest.fixture
def tls() -> Iterator[tuple[TLSTransport, TLSTransport]]:
    client_end, server_end = (Transport(own_socket(sock)) for sock in stdlib_socket.socketpair())
    client = TLSTransport(client_end, client_tls(), False, "localhost")
    server = TLSTransport(server_end, server_tls(), True)
    state = get_hub_state()
    done = [False, False]
    while not all(done):
        done = [client.handshake(state), server.handshake(state)]
    yield client, server
    client.close()
    server.close()


def test_tls(tls: tuple[TLSTransport, TLSTransport]) -> None:
    client, server = tls
    for one, other in ((client, server), (server, client)):
        assert one.send(b"hello") == 5
        assert receive_all(other) == b"hello"
        assert receive(other) is None


def test_tls_decrypts_all_that_it_reads(tls: tuple[TLSTransport, TLSTransport]) -> None:
    client, server = tls
    for number in range(100):
        client.send(b"%02d" % number)
    data = receive(server)
    assert data == b"".join(b"%02d" % number for number in range(100))
    assert server.tls.pending() == 0


def test_tls_holds_ciphertext_that_does_not_fit(tls: tuple[TLSTransport, TLSTransport]) -> None:
    client, server = tls
    data = bytes(range(256)) * 2**14
    sent = 0
    while not client.unsent:
        sent += client.send(data[sent:])
    # What is encrypted counts as sent; not much more than a chunk is held.
    assert 0 < sent < len(data)
    assert client.unsent <= TLS_CHUNK + 1024
    assert client.send(b"no room") == 0
    received = b""
    while client.unsent:
        received += receive(server) or b""
        client.flush()
    received += receive_all(server)
    assert received == data[:sent]
    assert client.send(b"room again") == 10
    assert receive_all(server) == b"room again"


@pytest.mark.parametrize("wrap", [bytes, memoryview])
def test_tls_sends_empty_data(tls: tuple[TLSTransport, TLSTransport], wrap: Any) -> None:
    client, server = tls
    assert client.send(wrap(b"")) == 0
    assert receive(server) is None


def test_tls_end_behind_data(tls: tuple[TLSTransport, TLSTransport]) -> None:
    client, server = tls
    client.send(b"last")
    client.send_eof()
    client.send_eof()
    assert receive(server) == b"last"
    assert receive(server) == b""
    assert receive(server) == b""


def test_tls_error_behind_data(tls: tuple[TLSTransport, TLSTransport]) -> None:
    client, server = tls
    client.send(b"last")
    client.sock.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert receive(server) == b"last"
    for _ in range(2):
        with pytest.raises(OSError):
            receive(server)


def test_tls_abandoned_says_nothing(tls: tuple[TLSTransport, TLSTransport]) -> None:
    client, server = tls
    # As in a forked child: the parent's descriptor stays open.
    copy = os.dup(client.fileno())
    client.abandon()
    assert receive(server) is None
    os.close(copy)
