"""Proxies in processes of their own, as their users run them."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator

import gevent
from gevent import socket, subprocess

from tests.net.support import HOST, PATIENCE, authority, free_port

USER, PASSWORD = "user", "pass word"

# Debian's daemons are not in everybody's path.
_which = functools.partial(shutil.which, path=f"{os.environ.get('PATH', '')}:/usr/sbin")

TWISTED = f"""
import sys
from twisted.internet import reactor
from twisted.protocols.socks import SOCKSv4Factory
reactor.listenTCP(int(sys.argv[1]), SOCKSv4Factory(None), interface={HOST!r})
reactor.run()
"""


def listens(port: int) -> bool:
    """Whether somebody listens on a port."""
    with socket.socket() as sock:
        return sock.connect_ex((HOST, port)) == 0


def tinyproxy(folder: pathlib.Path, port: int, auth: bool) -> list[str]:
    """HTTP, by Debian's tinyproxy."""
    lines = [f"Port {port}", f"Listen {HOST}", "Timeout 60"]
    if auth:
        # It knows no quotes.
        lines.append(f"BasicAuth {USER} {PASSWORD.replace(' ', '_')}")
    config = folder / "tinyproxy.conf"
    config.write_text("\n".join(lines) + "\n")
    return [str(_which("tinyproxy")), "-d", "-c", str(config)]


def proxy_py(folder: pathlib.Path, port: int, auth: bool, tls: bool = False) -> list[str]:
    """HTTP or HTTPS, by proxy.py."""
    command = [sys.executable, "-m", "proxy", "--hostname", HOST, "--port", str(port)]
    command += ["--num-workers", "1", "--num-acceptors", "1", "--data-dir", str(folder)]
    if auth:
        command += ["--basic-auth", f"{USER}:{PASSWORD}"]
    if tls:
        key, certificate = folder / "key.pem", folder / "certificate.pem"
        authority()[1].private_key_pem.write_to_path(str(key))
        certificate.write_bytes(b"".join(blob.bytes() for blob in authority()[1].cert_chain_pems))
        command += ["--key-file", str(key), "--cert-file", str(certificate)]
    return command


def microsocks(folder: pathlib.Path, port: int, auth: bool) -> list[str]:
    """SOCKS5, by Debian's microsocks."""
    command = [str(_which("microsocks")), "-i", HOST, "-p", str(port)]
    return [*command, "-u", USER, "-P", PASSWORD] if auth else command


def twisted(folder: pathlib.Path, port: int, auth: bool) -> list[str]:
    """SOCKS4 and SOCKS4a, by Twisted, without the log that its command wants."""
    return [sys.executable, "-c", TWISTED, str(port)]


@contextlib.contextmanager
def running(
    command: Callable[..., list[str]], auth: bool = False, **options: bool
) -> Iterator[int]:
    """Run a proxy; give the port on which it listens.

    Args:
        command: one of the functions above.
        auth: whether it wants credentials.
        options: for that function.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        arguments = command(pathlib.Path(folder), port, auth, **options)
        with open(f"{folder}/output", "wb") as output:
            process = subprocess.Popen(arguments, cwd=folder, stdout=output, stderr=output)
        try:
            with gevent.Timeout(PATIENCE, AssertionError(f"{arguments} does not listen")):
                while not listens(port):
                    assert process.poll() is None, pathlib.Path(f"{folder}/output").read_text()
                    gevent.sleep(0.01)
            yield port
        finally:
            process.terminate()
            process.wait()
