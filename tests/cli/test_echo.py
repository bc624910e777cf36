"""Tests of ``geventws echo``: a server in a process of its own."""

from __future__ import annotations

import re
import signal

import gevent
import pytest

from geventws import ConnectionClosedOK, connect
from geventws.cli.main import main
from tests.cli.support import Program, pem_files
from tests.net.support import HOST, client_tls

LISTENS = r"^Echo server at (wss?://\S+:\d+/) \(Ctrl-C ends it\)\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it(number: int) -> None:
    with Program("echo", "--port", "0", "--subprotocol", "chat") as program:
        uri = program.wait_for(LISTENS)[1]
        with connect(uri, subprotocols=["chat"]) as ws:
            for message in ("hello", b"\0\xff"):
                ws.send(message)
                assert ws.recv() == message
            program.process.send_signal(number)
            with pytest.raises(ConnectionClosedOK, match=r"received 1001 \(going away\)"):
                ws.recv()
        assert program.wait() == 0
        # The log, and nothing else: no traceback.
        log = program.rest().splitlines()
        texts = [re.sub(r"^[-\d]+ [:,\d]+ INFO |:\d+$", "", line) for line in log]
        assert texts == [
            "server listening on 127.0.0.1",
            "connection open",
            "server closing",
            "connection closed",
            "1 connection closed with 1001",
            "server closed",
        ]


def test_tls_and_lost_clients() -> None:
    with pem_files() as (_, certificate, key):
        options = ["--certificate", certificate, "--key", key, "--verbose"]
        with Program("echo", "--port", "0", "--host", "localhost", *options) as program:
            uri = program.wait_for(LISTENS.replace("^", ""))[1]
            assert uri.startswith("wss://")
            ws = connect(uri, ssl=client_tls(), server_hostname="localhost")
            ws.send("lost")
            assert ws.recv() == "lost"
            program.wait_for("DEBUG < TEXT 'lost'")
            ws._lost()
            program.wait_for("INFO connection closed")
            program.process.send_signal(signal.SIGTERM)
            assert program.wait() == 0
            assert "Traceback" not in program.rest()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--port", "{port}"], f"Failed to listen on {HOST}:{{port}}: [Errno 98] Address already"),
        (["--port", "65536"], f"Failed to listen on {HOST}:65536: "),
        (["--host", "nowhere.invalid"], "Failed to listen on nowhere.invalid:8765: "),
        (["--certificate", "missing.pem"], f"Failed to listen on {HOST}:8765: [Errno 2] No such"),
    ],
)
def test_failure_is_one_line(
    options: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with gevent.socket.socket() as occupied:
        occupied.bind((HOST, 0))
        occupied.listen()
        port = occupied.getsockname()[1]
        assert main(["echo", *(option.format(port=port) for option in options)]) == 1
    output, errors = capsys.readouterr()
    assert output == "" and errors.count("\n") == 1
    assert errors.startswith(error.format(port=port))


def test_key_without_certificate(capsys: pytest.CaptureFixture[str]) -> None:
    """It does not listen, least of all without TLS."""
    assert main(["echo", "--port", "0", "--key", "key.pem"]) == 2
    assert capsys.readouterr() == ("", "--key needs --certificate.\n")
