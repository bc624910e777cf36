"""examples/chat.py as users run it: a process of its own, two tabs of a real browser, Ctrl-C."""

from __future__ import annotations

import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from selenium import webdriver

import geventws
from tests.examples.support import PATIENCE, Tab

CHAT = pathlib.Path(__file__).resolve().parents[2] / "examples" / "chat.py"


class NoURL(Exception):
    """The example did not start; holds its exit status and what it wrote to stderr."""


class Chat:
    """The example as a process of its own, as a user starts it."""

    def __init__(self, port: str = "0") -> None:
        command = [sys.executable, str(CHAT), "--port", port]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        if found is None:
            _, errors = self.process.communicate(timeout=PATIENCE)
            raise NoURL(self.process.returncode, errors)
        self.url, self.port = found.group(), found.group(1)
        self.ws_url = f"ws{self.url.removeprefix('http')}chat"

    def interrupt(self) -> tuple[int, str]:
        """Press Ctrl-C; return the exit status and what was written to stderr."""
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors


@pytest.fixture
def chat() -> Iterator[Chat]:
    running = Chat()
    yield running
    if running.process.poll() is None:
        running.process.kill()
    running.process.communicate()


@pytest.mark.deadline(120)
def test_two_tabs_chat_until_ctrl_c(chat: Chat, browser: webdriver.Chrome) -> None:
    ann = Tab(browser, chat.url)
    ann.type("name", "Ann")
    ann.wait_for_lines("Ann joined")
    bob = Tab(browser, chat.url)
    bob.type("name", "Bob")
    bob.wait_for("document.getElementById('online').textContent", "2 online")

    ann.type("text", "Hello <b>Bob</b>, 1 < 2 & 3 ☃")
    bob.wait_for_lines("Ann joined", "Bob joined", "Hello <b>Bob</b>, 1 < 2 & 3 ☃")
    bob.type("text", "Grüß dich, Ann")
    lines = ("Ann joined", "Bob joined", "Hello <b>Bob</b>, 1 < 2 & 3 ☃", "Grüß dich, Ann")
    ann.wait_for_lines(*lines)
    bob.wait_for_lines(*lines)

    status, errors = chat.interrupt()
    for tab in (ann, bob):
        tab.wait_for("document.getElementById('state').dataset.code", "1001")
        tab.wait_for("document.getElementById('send').disabled", True)
    assert (status, errors) == (0, "")


@pytest.mark.deadline(120)
def test_tab_comes_back_after_a_restart(chat: Chat, browser: webdriver.Chrome) -> None:
    ann = Tab(browser, chat.url)
    ann.type("name", "Ann")
    ann.wait_for_lines("Ann joined")
    chat.interrupt()
    ann.wait_for("document.getElementById('state').dataset.state", "closed")
    restarted = Chat(chat.port)
    try:
        ann.wait_for("document.getElementById('state').dataset.state", "open")
        ann.wait_for_lines("Ann joined")
    finally:
        restarted.interrupt()


def test_page_is_served_beside_the_websocket(chat: Chat) -> None:
    with urllib.request.urlopen(chat.url, timeout=PATIENCE) as response:
        assert response.headers.get_all("Content-Type") == ["text/html; charset=utf-8"]
        assert response.read() == CHAT.with_suffix(".html").read_bytes()
    with pytest.raises(urllib.error.HTTPError, match="404") as raised:
        urllib.request.urlopen(chat.url + "secret", timeout=PATIENCE)
    raised.value.close()


def events(ws: geventws.ClientConnection) -> Iterator[tuple[str, str, str]]:
    """What the server tells a client."""
    for message in ws:
        event = json.loads(message)
        yield event["kind"], event["name"], event["text"]


def test_newcomer_gets_the_last_events(chat: Chat) -> None:
    with geventws.connect(chat.ws_url) as ann:
        ann.send("Ann")
        for number in range(60):
            ann.send(str(number))
        told = events(ann)
        while next(told) != ("message", "Ann", "59"):
            pass
        with geventws.connect(chat.ws_url) as bob:
            bob.send("Bob")
            told = events(bob)
            history = [next(told) for _ in range(50)]
            assert history == [("message", "Ann", str(number)) for number in range(10, 60)]
            assert next(told) == ("notice", "Bob", "joined")


def test_slow_reader_holds_nobody_up(chat: Chat) -> None:
    """A client that never reads is let go of, and the others do not wait for it."""
    with geventws.connect(chat.ws_url, compression=None) as slow:
        slow.send("Slow")
        slow.recv()
        with geventws.connect(chat.ws_url) as ann:
            ann.send("Ann")
            assert json.loads(ann.recv())["name"] == "Slow"
            while json.loads(ann.recv())["online"] == 2:
                ann.send("x" * 4000)


def test_client_that_misbehaves_leaves_no_trace(chat: Chat) -> None:
    with geventws.connect(chat.ws_url) as ws:
        ws.send(b"binary")
        ws.send("   ")
        ws.send("Mallory" * 10)
        told = events(ws)
        assert next(told) == ("notice", ("Mallory" * 10)[:24], "joined")
        ws.send("x" * 5000)
        with pytest.raises(geventws.ConnectionClosedError) as raised:
            next(told)
        assert raised.value.rcvd is not None and raised.value.rcvd.code == 1009
    with geventws.connect(chat.ws_url):
        pass
    assert chat.interrupt() == (0, "")


def test_ctrl_c_does_not_wait_for_a_spare_connection(chat: Chat) -> None:
    """Browsers open TCP connections ahead of need, and send nothing on them."""
    with socket.create_connection(("127.0.0.1", int(chat.port))):
        # An answer to this one means that the spare one was accepted before.
        urllib.request.urlopen(chat.url, timeout=PATIENCE).close()
        started = time.monotonic()
        assert chat.interrupt() == (0, "")
        assert time.monotonic() - started < 5


def test_port_that_is_taken(chat: Chat) -> None:
    with pytest.raises(NoURL) as raised:
        Chat(chat.port)
    status, errors = raised.value.args
    assert status == 2
    assert f"cannot listen on port {chat.port}" in errors and "Traceback" not in errors
