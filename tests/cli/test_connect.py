"""Tests of ``geventws connect``: in pipes, and at a terminal."""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import re
import termios
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from geventws import ClientConnection, ServerConnection
from geventws.cli.connect import Conversation
from geventws.cli.console import Pipes
from geventws.core.frames import Close, Opcode
from geventws.testing import RawServer
from tests.cli.support import Program, pem_files, run
from tests.net.support import (
    PATIENCE,
    Hold,
    echo,
    raw_server,
    server_tls,
    serving,
    squeeze,
    turns,
    uri_of,
)

ENTER = "\r"
CTRL_C, CTRL_D = "\x03", "\x04"
UP, BACKSPACE = "\x1b[A", "\x7f"


def test_pipe() -> None:
    with serving(echo) as server:
        uri = uri_of(server)
        output, errors = run("connect", uri, data=b"a\nb\n")
    assert output == f"Connected to {uri}.\n< a\n< b\nConnection closed: 1000 (OK).\n"
    assert errors == ""


def test_binary_pipe() -> None:
    with serving(echo) as server:
        output, _ = run("connect", "--binary", "--wait", "0", uri_of(server), data=b"00ff\n\n")
    assert "< (binary) 00ff\n< (binary) \n" in output


def test_raw_output_is_messages_only() -> None:
    with serving(echo) as server:
        uri = uri_of(server)
        output, errors = run("connect", "--raw", "--wait", "0", uri, data=b"\t\x1b[0m\n(binary) 00")
    assert output == "\t\x1b[0m\n(binary) 00\n"
    assert errors == f"Connected to {uri}.\nConnection closed: 1000 (OK).\n"


def test_what_a_server_sends_before_its_close_frame_is_shown() -> None:
    """Though it arrives in one piece, when the connection is being closed."""

    def serve(server: RawServer) -> None:
        with server.accept() as peer:
            frame = peer.recv_close()
            assert frame is not None
            texts = b"".join(peer.frame(Opcode.TEXT, b"%d" % number) for number in range(500))
            peer.send_bytes(texts + peer.frame(Opcode.CLOSE, frame.data))

    with RawServer() as server:
        serving = gevent.spawn(serve, server)
        output, _ = run("connect", "--wait", "0", server.uri)
        serving.get(timeout=PATIENCE)
    assert output.count("\n< ") == 500
    assert output.endswith("< 499\nConnection closed: 1000 (OK).\n")


def test_waits_until_the_server_closes() -> None:
    def handler(ws: ServerConnection) -> None:
        ws.recv()
        # Later than the default for --wait.
        gevent.sleep(0.6)
        ws.send("at last")
        ws.close(1001, "\x1b[2J")

    with serving(handler) as server:
        output, _ = run("connect", "--wait", "inf", uri_of(server), data=b"question")
    assert output.endswith("< at last\nConnection closed: 1001 (going away) \\x1b[2J.\n")


def test_options_reach_the_server() -> None:
    hold = Hold()
    with serving(hold, subprotocols=["chat"], ssl=server_tls()) as server, pem_files() as pem:
        uri = uri_of(server, "wss")
        options = ["--cafile", pem[0], "--origin", "http://o", "-H", "X-Extra: 1", "--verbose"]
        running = gevent.spawn(run, "connect", uri, "--subprotocol", "chat", *options)
        ws = hold.get()
        assert ws.request is not None and ws.subprotocol == "chat"
        headers = ws.request.headers
        assert (headers["Origin"], headers["X-Extra"]) == ("http://o", "1")
        hold.done.set()
        _, errors = running.get(timeout=PATIENCE)
    assert "DEBUG > X-Extra: 1\n" in errors


@pytest.mark.parametrize(
    ("options", "data", "error"),
    [
        ([], b"fine\n\xff\n", "cannot send: the line is not UTF-8; --binary sends"),
        (["--binary"], b"fine", "cannot send: 'fine' is not hexadecimal"),
    ],
)
def test_input_that_is_no_message(options: list[str], data: bytes, error: str) -> None:
    with serving(echo) as server:
        # It does not wait for more answers.
        options = [*options, "--wait", "inf", uri_of(server)]
        output, errors = run("connect", *options, data=data, code=1)
    assert output.endswith("Connection closed: 1000 (OK).\n")
    assert errors.startswith(error) and errors.count("\n") == 1


def test_connection_that_ends_in_another_way() -> None:
    with serving(lambda ws: ws.send("x" * 1001)) as server:
        output, errors = run(
            *("connect", "--max-size", "1000", "--wait", "inf", uri_of(server)), code=1
        )
    assert "Connection closed: 100" in output
    reason = "frame with 1001 bytes exceeds limit of 1000 bytes"
    assert errors.startswith(f"sent 1009 (message too big) {reason}; ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("uri", "error"),
    [
        ("ws://127.0.0.1:1/", "[Errno 111] Connection refused"),
        ("http://localhost/", "http://localhost/ isn't a valid URI: scheme isn't ws or wss"),
        ("ws://\x1b[2J/", "isn't a valid URI: spaces and control characters must be"),
        ("wss://localhost:{port}/", "connection closed in TLS handshake"),
        ("ws://localhost:{port}/404", "server rejected WebSocket connection: HTTP 404"),
    ],
)
def test_failure_is_one_line(uri: str, error: str, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(ws: ServerConnection, request: Any) -> Any:
        return ws.respond(404, "Not here.\n")

    from geventws.cli.main import main

    with serving(echo, process_request=refuse) as server:
        assert main(["connect", uri.format(port=server.address[1])]) == 1
    output, errors = capsys.readouterr()
    assert output == "" and errors.count("\n") == 1 and "\x1b" not in errors
    assert errors.startswith("Failed to connect to ") and error in errors


def test_server_that_takes_too_long() -> None:
    with RawServer() as server, Program("connect", "--open-timeout", "0.1", server.uri) as program:
        program.wait_for(
            r"^Failed to connect to .*: timed out while waiting for handshake response"
        )
        assert program.wait() == 1


@contextlib.contextmanager
def conversation(
    ws: ClientConnection, source: int | None = None
) -> Iterator[tuple[Conversation, list[int]]]:
    """A conversation in this process, and the other ends of its pipes: where to write, to read.

    Args:
        ws: the connection.
        source: what it reads, instead of a pipe.
    """
    lines, write = os.pipe()
    read, target = os.pipe()
    options = argparse.Namespace(binary=False, raw=True, wait=None)
    ends = [write, read]
    try:
        yield Conversation(ws, Pipes(lines if source is None else source, target), options), ends
    finally:
        os.close(write)
        # A thread may still read, though nobody waits for it any more: it comes to the end.
        gevent.get_hub().threadpool.join()
        for descriptor in (lines, target, *ends[1:]):
            os.close(descriptor)


def test_input_is_left_alone_when_the_connection_is_closed_already(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"too late\n")
    with (
        path.open("rb") as file,
        raw_server() as (ws, peer),
        conversation(ws, file.fileno()) as (talk, _),
    ):
        peer.send_frame(Opcode.CLOSE, Close(1001, "bye").serialize())
        peer.close()
        assert ws.wait_closed(PATIENCE)
        talk.hold()
        gevent.get_hub().threadpool.join()
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 0
    assert talk.failures == []


def test_output_that_nobody_reads_closes_the_connection() -> None:
    """As ``geventws connect --raw URI | head -1`` does."""
    with raw_server() as (ws, peer), conversation(ws) as (talk, ends):
        os.close(ends.pop())
        # Under monkey patching it is closed in the loop's next turn.
        turns()
        talking = gevent.spawn(talk.hold)
        peer.send_frame(Opcode.TEXT, b"message")
        frame = peer.recv_close()
        assert frame is not None and Close.parse(frame.data) == Close(1000, "")
        peer.send_frame(Opcode.CLOSE, frame.data)
        peer.close()
        talking.get(timeout=PATIENCE)
    assert talk.failures == ["cannot write messages: [Errno 32] Broken pipe"]


def test_connection_that_is_lost_while_a_line_waits_is_told_once(tmp_path: pathlib.Path) -> None:
    """By who receives, not by who sends as well."""
    size = 4 * 2**20
    path = tmp_path / "lines"
    path.write_bytes(b"x" * size + b"\nwaits\n")
    with (
        path.open("rb") as file,
        raw_server() as (ws, peer),
        conversation(ws, file.fileno()) as (talk, _),
    ):
        squeeze(ws, peer)
        talking = gevent.spawn(talk.hold)
        # The first line is on its way: the second waits for room.
        assert peer.sock.recv(1)
        peer.reset()
        talking.get(timeout=PATIENCE)
    (failure,) = talk.failures
    assert failure.startswith("no close frame received or sent: ")


def shown(text: str) -> str:
    """What the terminal gets when a line appears above the prompt."""
    return re.escape(f"\x1b7\r\n\x1b[1A\x1b[1L{text}\r\n\x1b8\x1b[1B")


def enter(program: Program, line: str, answer: str) -> None:
    """Type a line; wait for the answer, and for the next prompt, before or after it.

    What is typed before the prompt is edited by the terminal, not by readline, which writes the
    prompt in two pieces.
    """
    program.type(line + ENTER)
    program.wait_for(f"(?:{shown(answer)}> |> {shown(answer)}|>{shown(answer)} )")


def test_terminal() -> None:
    with serving(echo) as server, Program("connect", uri_of(server), terminal=True) as program:
        mode = termios.tcgetattr(program.theirs)
        program.wait_for(r"^Connected to ws://\S+\.\r\n> ")
        enter(program, "hello", "< hello")
        # Editing and history.
        enter(program, UP + BACKSPACE + "!", "< hell!")
        enter(program, "(binary) 00ff", "< (binary) 00ff")
        enter(program, "(binary) xx", "Not sent: 'xx' is not hexadecimal.")
        not_text = "Not sent: the line is not UTF-8; --binary sends hexadecimal digits."
        enter(program, "\udcff", not_text)
        program.type("half a line\x15" + CTRL_D)
        program.wait_for(r"\r\x1b\[KConnection closed: 1000 \(OK\)\.\r\n")
        assert program.wait() == 0
        assert termios.tcgetattr(program.theirs) == mode


def test_control_characters_do_not_reach_the_terminal() -> None:
    hold = Hold()
    with serving(hold) as server, Program("connect", uri_of(server), terminal=True) as program:
        program.wait_for("> ")
        hold.get().send("\x1b[2Jgone\r\n\x9b1m")
        program.wait_for(shown("< \\x1b[2Jgone\\r\\n\\x9b1m"))
        hold.done.set()


@pytest.mark.parametrize("end", ["server", CTRL_C])
def test_end_while_somebody_types(end: str) -> None:
    hold = Hold()
    with serving(hold) as server, Program("connect", uri_of(server), terminal=True) as program:
        mode = termios.tcgetattr(program.theirs)
        program.wait_for("> ")
        ws = hold.get()
        program.type("half a li")
        program.wait_for("half a li")
        if end == "server":
            ws.close(1001, "bye")
        else:
            program.type(end)
            ws.wait_closed(PATIENCE)
            assert ws._protocol.closing.rcvd == Close(1000, "")
        code = r"1001 \(going away\) bye" if end == "server" else r"1000 \(OK\)"
        match = program.wait_for(rf"(.*)\r\x1b\[KConnection closed: {code}\.\r\n")
        assert "Interrupt" not in match[1]
        assert program.wait() == 0
        assert termios.tcgetattr(program.theirs) == mode
        hold.done.set()
