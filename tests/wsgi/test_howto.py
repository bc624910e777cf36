"""The programs of docs/howto/wsgi.rst: each of them is an echo server, and runs."""

from __future__ import annotations

from typing import Any

import pytest

from geventws import Opcode
from geventws.pywsgi import WebSocketServer
from tests.test_docs import ROOT, programs
from tests.wsgi.support import served

PROGRAMS = programs(ROOT / "docs" / "howto" / "wsgi.rst")


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_program(program: str) -> None:
    names: dict[str, Any] = {}
    exec(program, names)
    options: dict[str, Any] = {}
    if "server" in names:
        options["handler_class"] = names["server"].handler_class
        if isinstance(names["server"], WebSocketServer):
            options["server_class"] = WebSocketServer
    with served(names["app"], **options) as here:
        client = here.open("/echo")
        client.send_frame(Opcode.TEXT, b"x")
        received = client.recv_frame()
        assert received is not None and received.data == b"x"
        client.send_frame(Opcode.CLOSE, b"\x03\xe8")
        received = client.recv_frame()
        assert received is not None and received.opcode is Opcode.CLOSE
        assert client.recv_frame() is None
        client.close()
        if "room" in names:
            client = here.open("/room/Caf%C3%A9")
            received = client.recv_frame()
            assert received is not None and received.data.decode() == "Welcome to Café!"
            client.close()
        if "pages" in names:
            client = here.request(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.response is not None and client.response.body == b"a page"
            client.close()
