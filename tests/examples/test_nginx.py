"""Behind nginx, with the configuration of its how-to: the chat, and a WSGI application."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from selenium import webdriver
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.examples.support import PATIENCE, Tab
from tests.examples.test_chat import CHAT, Chat
from tests.wsgi.support import Process, gunicorn

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOWTO = ROOT / "docs" / "howto" / "nginx.rst"
BLOCK = re.compile(r"code-block:: nginx\n\n((?:    .*\n|\n)+)")

# Debian's is not in everybody's path.
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

# What surrounds the how-to's configuration; nothing outside of the test's folder is used.
MAIN = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{}}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {site}
}}
"""


def documented(upstream: str, address: str) -> str:
    """The how-to's configuration, with other addresses.

    Args:
        upstream: where the application is, as nginx calls it.
        address: where nginx listens.
    """
    site, unix = (textwrap.dedent(block) for block in BLOCK.findall(HOWTO.read_text("utf-8")))
    assert "server 127.0.0.1:8000;" in site and "listen 80;" in site
    if upstream.startswith("unix:"):
        site, replaced = re.subn(r"upstream application \{.*?\}\n", unix, site, flags=re.DOTALL)
        assert replaced == 1 and "server unix:/run/application.sock;" in site
        site = site.replace("unix:/run/application.sock", upstream)
    site = site.replace("server 127.0.0.1:8000;", f"server {upstream};")
    return site.replace("listen 80;", f"listen {address};")


class Nginx:
    """Nginx as a process of its own, on a port that this process has found."""

    def __init__(self, folder: pathlib.Path, upstream: str, without: str = "") -> None:
        assert NGINX is not None
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as listening:
            host, port = listening.getsockname()
            self.url = f"http://{host}:{port}/"
            self.ws_url = f"ws://{host}:{port}"
            site = documented(upstream, f"{host}:{port}")
            if without:
                site, removed = re.subn(without, "", site)
                assert removed
            # Its workers give up root's rights, and with them the way to the Unix socket.
            user = "user root;" if os.geteuid() == 0 else ""
            config = folder / "nginx.conf"
            config.write_text(MAIN.format(user=user, folder=folder, site=site), "utf-8")
            # It inherits the socket, as when one nginx replaces another: the port is ours.
            self.process = subprocess.Popen(
                [NGINX, "-p", str(folder), "-c", str(config)],
                env={**os.environ, "NGINX": f"{listening.fileno()};"},
                pass_fds=[listening.fileno()],
                stderr=subprocess.PIPE,
                text=True,
            )

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=PATIENCE)
        log = (self.folder / "error.log").read_text("utf-8")
        # Tabs come back when the chat is gone, for as long as they are open.
        wrong = r"\[(error|crit|alert|emerg)\](?!.* connect\(\) )"
        assert not re.search(wrong, log), f"{errors}\n{log}"


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder whose path is short enough for a Unix socket."""
    if NGINX is None:
        pytest.skip("nginx is not installed (Debian: nginx)")
    return tmp_path_factory.mktemp("nginx")


class UnixChat(Chat):
    """The chat on a Unix socket."""

    def __init__(self, path: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(pathlib.Path(__file__).with_name("chat_unix.py")), path],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert path in self.process.stdout.readline()


@pytest.fixture(params=["tcp", "unix"])
def chat(request: pytest.FixtureRequest, folder: pathlib.Path) -> Iterator[Chat]:
    running = UnixChat(f"{folder}/chat.sock") if request.param == "unix" else Chat()
    yield running
    if running.process.poll() is None:
        running.process.kill()
    running.process.communicate()


@pytest.fixture
def nginx(chat: Chat, folder: pathlib.Path) -> Iterator[Nginx]:
    unix = isinstance(chat, UnixChat)
    running = Nginx(folder, f"unix:{folder}/chat.sock" if unix else f"127.0.0.1:{chat.port}")
    yield running
    running.stop()


def told(ws: ClientConnection) -> tuple[str, str, str]:
    event = json.loads(ws.recv(timeout=PATIENCE))
    return event["kind"], event["name"], event["text"]


def test_chat_behind_nginx(chat: Chat, nginx: Nginx) -> None:
    with urllib.request.urlopen(nginx.url, timeout=PATIENCE) as response:
        assert response.read() == CHAT.with_suffix(".html").read_bytes()
    with pytest.raises(urllib.error.HTTPError, match="404") as raised:
        urllib.request.urlopen(nginx.url + "secret", timeout=PATIENCE)
    raised.value.close()
    with connect(nginx.ws_url + "/chat") as ann, connect(nginx.ws_url + "/chat") as bob:
        ann.send("Ann")
        assert told(ann) == ("notice", "Ann", "joined")
        bob.send("Bob")
        assert told(bob) == ("notice", "Ann", "joined")
        assert told(bob) == told(ann) == ("notice", "Bob", "joined")
        for number in range(100):
            ann.send(f"{number} " + "☃" * 500)
        for number in range(100):
            expected = ("message", "Ann", f"{number} " + "☃" * 500)
            assert told(bob) == told(ann) == expected
        bob.close(4000)
        assert told(ann) == ("notice", "Bob", "left")
        assert chat.interrupt() == (0, "")
        with pytest.raises(ConnectionClosed):
            ann.recv(timeout=PATIENCE)
        assert ann.close_code == 1001
    log = (nginx.folder / "access.log").read_text("utf-8")
    assert log.count('"GET /chat HTTP/1.1" 101 ') == 2


@pytest.mark.deadline(120)
def test_two_tabs_behind_nginx(chat: Chat, nginx: Nginx, browser: webdriver.Chrome) -> None:
    ann, bob = Tab(browser, nginx.url), Tab(browser, nginx.url)
    ann.type("name", "Ann")
    ann.wait_for_lines("Ann joined")
    bob.type("name", "Bob")
    bob.type("text", "Hello")
    for tab in (ann, bob):
        tab.wait_for_lines("Ann joined", "Bob joined", "Hello")
    assert chat.interrupt() == (0, "")
    for tab in (ann, bob):
        tab.wait_for("document.getElementById('state').dataset.code", "1001")


def gunicorn_behind(folder: pathlib.Path) -> Process:
    """The Flask application on gunicorn, on a Unix socket."""
    command = gunicorn("geventws.gunicorn.Worker", "tests.wsgi.flask_app:app", None)
    # Its log tells where it listens; nobody connects to the port.
    process = Process([*command[:-1], "--bind", f"unix:{folder}/flask.sock", command[-1]])
    process.wait_for("Listening at:.*flask.sock")
    return process


def test_flask_on_gunicorn_behind_nginx(folder: pathlib.Path) -> None:
    process = gunicorn_behind(folder)
    nginx = Nginx(folder, f"unix:{folder}/flask.sock")
    try:
        with connect(nginx.ws_url + "/echo") as ws:
            ws.send("x" * 10_000)
            assert ws.recv(timeout=PATIENCE) == "x" * 10_000
            with pytest.raises(InvalidStatus, match="403"):
                connect(nginx.ws_url + "/reject")
            process.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed):
                ws.recv(timeout=PATIENCE)
            assert ws.close_code == 1001
        process.process.wait(timeout=PATIENCE)
        assert "Traceback" not in process.log
    finally:
        nginx.stop()
        process.stop()


def test_nginx_that_loses_the_upgrade(folder: pathlib.Path) -> None:
    process = gunicorn_behind(folder)
    nginx = Nginx(folder, f"unix:{folder}/flask.sock", r"proxy_set_header (Upgrade|Connection) .*")
    try:
        with pytest.raises(InvalidStatus) as raised:
            connect(nginx.ws_url + "/echo")
        response = raised.value.response
        assert response.status_code == 426
        assert response.body is not None and b"proxy_set_header Upgrade" in response.body
    finally:
        nginx.stop()
        process.stop()
