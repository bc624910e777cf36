"""What tests of the WSGI doors share: servers in processes of their own, and what they log."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import json
import os
import pathlib
import re
import signal
import ssl
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import gevent
from gevent import pywsgi, socket, subprocess

from geventws.testing import RawClient
from tests.modes import LONG
from tests.net.support import HOST, PATIENCE, authority, client_tls, until

ROOT = pathlib.Path(__file__).resolve().parents[2]

GUNICORN = {
    "gunicorn": "gevent",
    "gunicorn-tls": "gevent",
    "gevent_pywsgi": "gevent_pywsgi",
    "gthread": "gthread",
    "gthread-tls": "gthread",
    "worker": "geventws.gunicorn.Worker",
    "worker-tls": "geventws.gunicorn.Worker",
    "worker-pywsgi": "geventws.gunicorn.PyWSGIWorker",
    "worker-pywsgi-tls": "geventws.gunicorn.PyWSGIWorker",
}

# The servers that lend their sockets. Those with native threads run a hub for each.
SERVERS = [
    "pywsgi",
    "pywsgi-tls",
    "gunicorn",
    "gunicorn-tls",
    "worker",
    "worker-tls",
    "gevent_pywsgi",
    "gthread",
    "gthread-tls",
    "werkzeug",
    "werkzeug-tls",
]

# Those that are looked at most closely: each of them, and each kind of TLS socket once.
MATRIX = {"pywsgi", "pywsgi-tls", "gunicorn", "worker", "gevent_pywsgi", "gthread", "werkzeug"}

# Those that parse requests, and log them, as pywsgi does.
PYWSGI = {"pywsgi", "pywsgi-tls", "gevent_pywsgi"}

THREADED = {"gthread", "gthread-tls", "werkzeug", "werkzeug-tls"}


# Connections after which nothing may be left, and how often an application forgets its WebSocket
# on a server: hundreds in `make faults`; what each leaves behind shows in fewer.
CONNECTIONS = 500 if LONG else 100
FORGOTTEN = 1000 if LONG else 100

# How servers say on which port they listen.
LISTENS = r"(?:port |at:? (?:https?|ws)://127\.0\.0\.1:|TCP address 127\.0\.0\.1:)(\d+)"


class Process:
    """A WSGI server in a process of its own.

    Args:
        command: what runs it; it says its port.
        tls: whether it speaks TLS.
        stdin: what it reads from, as for `subprocess.Popen`.
        environ: environment variables for it.
    """

    def __init__(
        self, command: list[str], tls: bool = False, stdin: int | None = None, **environ: str
    ) -> None:
        self.tls = tls
        # Which server it is, and which of its applications are asked, by a prefix of paths.
        self.server = self.door = self.prefix = ""
        self.threaded = False
        # How much of what it has printed is not looked at any more.
        self._seen = 0
        self._log = tempfile.NamedTemporaryFile()
        # Another open file than the one it is read by: they must not share a position.
        with open(self._log.name, "ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=stdin,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environ},
            )
        try:
            port = self.wait_for(LISTENS).group(1)
        except BaseException:
            self.stop()
            raise
        self.address = (HOST, int(port))

    def through(self, door: str = "") -> Process:
        """Return the same process for one test: one of its applications, and a log of its own.

        Args:
            door: the application's name, which is the first part of paths.
        """
        view = copy.copy(self)
        view.door, view.prefix = door, f"/{door}" if door else ""
        view._seen = os.stat(self._log.name).st_size
        return view

    @property
    def log(self) -> str:
        """What it has printed so far."""
        self._log.seek(self._seen)
        # Werkzeug prints in colours.
        return re.sub(r"\x1b\[\d+m", "", self._log.read().decode("utf-8", "replace"))

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until it has printed something."""
        with gevent.Timeout(PATIENCE, False):
            while not (match := re.search(pattern, self.log)):
                gevent.sleep(0.01)
            return match
        raise AssertionError(f"{pattern!r} did not appear in:\n{self.log}")

    def connect(self) -> RawClient:
        """Connect a raw client, which says nothing yet."""
        client = RawClient(self.address, ssl=trust() if self.tls else None, open=False)
        client.sock.settimeout(PATIENCE)
        return client

    def ask(
        self, path: str = "/echo", early: bytes = b"", headers: Iterable[tuple[str, str]] = ()
    ) -> RawClient:
        """Ask for a WebSocket; early bytes are sent in one piece with the request."""
        client = self.connect()
        client.send_bytes(RawClient.request(headers, self.prefix + path) + early)
        return client

    def open(
        self, path: str = "/echo", early: bytes = b"", headers: Iterable[tuple[str, str]] = ()
    ) -> RawClient:
        """Open a WebSocket; see `ask`."""
        client = self.ask(path, early, headers)
        client.response = client.recv_response()
        assert client.response.status_code == 101, client.response
        return client

    def get(self, path: str) -> tuple[int, bytes]:
        """Make an HTTP request; return status and body."""
        sock = socket.create_connection(self.address)
        if self.tls:
            sock = trust().wrap_socket(sock, server_hostname="localhost")
        sock.settimeout(PATIENCE)
        head = f"GET {self.prefix}{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        with contextlib.closing(sock):
            sock.sendall(head.encode())
            data = b""
            while part := sock.recv(65536):
                data += part
        assert data, f"no answer; the server says:\n{self.log}"
        head, _, body = data.partition(b"\r\n\r\n")
        return int(head.split()[1]), body

    def count(self) -> dict[str, int]:
        """What the process holds, threads apart: servers keep those."""
        status, body = self.get("/count")
        assert status == 200, self.log
        counts: dict[str, int] = json.loads(body)
        del counts["threads"]
        return counts

    def holds_more_than(self, before: dict[str, int]) -> dict[str, tuple[int, int]]:
        """What the process holds more of than before; before, and now."""
        return {
            name: (before[name], count)
            for name, count in self.count().items()
            if count > before[name]
        }

    def stop(self) -> None:
        """End it, if it has not ended."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._log.close()


@functools.cache
def trust() -> Any:
    """TLS configuration of clients, made once: it takes longer than a handshake."""
    return client_tls()


def foreign_tls(process: Process) -> ssl.SSLContext | None:
    """What `websockets.sync` needs for a server, which speaks TLS or not.

    Its two threads use one TLS object without a lock. With TLS 1.3 the server's session tickets
    arrive while the request is written, which then may not arrive: once in 500 connections.
    """
    if not process.tls:
        return None
    context = ssl.create_default_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    authority()[0].configure_trust(context)
    return context


@contextlib.contextmanager
def certificate() -> Iterator[str]:
    """A file with the certificate that `client_tls` trusts, and its key."""
    with authority()[1].private_key_and_cert_chain_pem.tempfile() as path:
        yield path


@contextlib.contextmanager
def running(server: str, app: str = "plain", *arguments: str, **options: Any) -> Iterator[Process]:
    """Run a server.

    Args:
        server: one of `SERVERS`.
        app: the application, of `tests.wsgi.apps` unless it has a colon.
        arguments: for gunicorn's command line.
        options: for `accept`.
    """
    tls = server.endswith("-tls")
    environ = {"GEVENTWS_TEST_OPTIONS": json.dumps(options)}
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(certificate()) if tls else None
        if server in ("uwsgi", "uwsgi-tls"):
            command = uwsgi(app, path)
        elif server in GUNICORN:
            command = gunicorn(GUNICORN[server], app, path, *arguments)
        else:
            command = [sys.executable, "-m", "tests.wsgi.serve", server.removesuffix("-tls"), app]
            if path:
                environ["GEVENTWS_TEST_CERTIFICATE"] = path
        process = Process(command, tls, **environ)
        process.server, process.threaded = server, server in THREADED
        stack.callback(process.stop)
        yield process


def leak_rounds(process: Process) -> int:
    """How many connections the tests for leaks make: fewer where TLS has nothing to add."""
    return CONNECTIONS if process.server in MATRIX else min(CONNECTIONS, 50)


def gunicorn(worker: str, app: str, certificate: str | None, *arguments: str) -> list[str]:
    """Return the command that runs gunicorn."""
    tls = ["--certfile", certificate, "--keyfile", certificate] if certificate else []
    return [
        *(sys.executable, "-m", "gunicorn", "-k", worker, "-b", f"{HOST}:0"),
        *("--access-logfile", "-", "--threads", "20" if worker == "gthread" else "1"),
        *("--no-control-socket", *tls, *arguments, whole(app)),
    ]


def whole(app: str) -> str:
    """Return an application's name with its module."""
    return app if ":" in app else f"tests.wsgi.apps:{app}"


def uwsgi(app: str, certificate: str | None) -> list[str]:
    """Return the command that runs uWSGI, whose gevent loop runs one process."""
    scripts = pathlib.Path(sys.executable).parent
    where = ["--http-socket", f"{HOST}:0"]
    if certificate:
        where = ["--https-socket", f"{HOST}:0,{certificate},{certificate}"]
    return [
        *(str(scripts / "uwsgi"), *where, "--gevent", "50"),
        *("--virtualenv", sys.prefix, "--pythonpath", str(ROOT), "--die-on-term"),
        *("--module", whole(app)),
    ]


class Served:
    """An application on pywsgi in this process.

    Args:
        app: the application.
        server_class: of the server.
        options: for the server.
    """

    def __init__(self, app: Any, server_class: Any = pywsgi.WSGIServer, **options: Any) -> None:
        # Its access log.
        self.log = io.StringIO()
        self.errors = io.StringIO()
        self.server = server_class((HOST, 0), app, log=self.log, error_log=self.errors, **options)

    def open(
        self, path: str = "/", early: bytes = b"", headers: Iterable[tuple[str, str]] = ()
    ) -> RawClient:
        """Open a WebSocket; early bytes are sent in one piece with the request."""
        client = self.request(RawClient.request(headers, path) + early)
        assert client.response is not None and client.response.status_code == 101
        return client

    def connect(self) -> RawClient:
        """Connect a raw client."""
        tls = trust() if self.server.ssl_enabled else None
        client = RawClient((HOST, self.server.server_port), ssl=tls, open=False)
        client.sock.settimeout(PATIENCE)
        return client

    def request(self, request: bytes) -> RawClient:
        """Send any request, and receive the response."""
        client = self.connect()
        client.send_bytes(request)
        client.response = client.recv_response()
        return client

    def wait_for_log(self, *statuses: int) -> None:
        """Wait until requests with these statuses, and no others, are in the access log."""
        expected = list(map(str, statuses))
        until(lambda: re.findall(r'HTTP/1\.\d" (\S+)', self.log.getvalue()) == expected)


@contextlib.contextmanager
def served(app: Any, *, tls: bool = False, **options: Any) -> Iterator[Served]:
    """Run an application on pywsgi in this process; see `Served`."""
    with certificate() as path:
        if tls:
            options.update(certfile=path, keyfile=path)
        here = Served(app, **options)
        here.server.start()
        try:
            yield here
        finally:
            here.server.stop()
