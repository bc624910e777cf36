"""`install`: the names of gevent-websocket lead to geventws, in processes of their own."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.wsgi.support import ROOT

MODULES = """
geventwebsocket geventwebsocket.handler geventwebsocket.websocket geventwebsocket.exceptions
geventwebsocket.server geventwebsocket.resource geventwebsocket.protocols
geventwebsocket.protocols.base geventwebsocket.protocols.wamp geventwebsocket.gunicorn
geventwebsocket.gunicorn.workers geventwebsocket.logging geventwebsocket.utf8validator
geventwebsocket.utils
""".split()

INSTALL = "import geventws.compat; geventws.compat.install()\n"


def run(program: str, path: pathlib.Path = ROOT, arguments: Sequence[str] = ()) -> str:
    """Run a program that must succeed; return what it printed."""
    command = [sys.executable, "-c", program, *arguments]
    environ = {**os.environ, "PYTHONPATH": f"{path}:{ROOT}"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environ)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


@pytest.fixture
def original(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with a package of the old name, as if gevent-websocket were installed."""
    package = tmp_path / "geventwebsocket"
    package.mkdir()
    (package / "__init__.py").write_text("REAL = True\n")
    (package / "handler.py").write_text("REAL = True\n")
    (package / "extra.py").write_text("REAL = True\n")
    return tmp_path


EACH = """
import os, sys
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        exec(f"import {name}, geventws.compat.{name}; here, there = {name}, geventws.compat.{name}")
        assert sys.modules[name] is sys.modules[f"geventws.compat.{name}"] is here is there
        assert here.__spec__.name == f"geventws.compat.{name}"
        gunicorn = [module for module in sys.modules if module.split(".")[0] == "gunicorn"]
        assert not gunicorn or name.endswith("workers")
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"see {name}")
"""


def test_each_old_module_is_the_new_one() -> None:
    """Each in a process of its own, where it is the first."""
    assert run(INSTALL + EACH, arguments=MODULES) == ""


PUBLIC = {
    "geventwebsocket": "WebSocketApplication Resource WebSocketServer WebSocketError get_version"
    " VERSION",
    "geventwebsocket.handler": "WebSocketHandler Client",
    "geventwebsocket.websocket": "WebSocket Stream Header MSG_SOCKET_DEAD MSG_ALREADY_CLOSED"
    " MSG_CLOSED",
    "geventwebsocket.exceptions": "WebSocketError ProtocolError FrameTooLargeException",
    "geventwebsocket.server": "WebSocketServer",
    "geventwebsocket.resource": "WebSocketApplication Resource",
    "geventwebsocket.protocols.base": "BaseProtocol",
    "geventwebsocket.protocols.wamp": "WampProtocol export_rpc RemoteProcedures Channels Prefixes"
    " serialize",
    "geventwebsocket.gunicorn.workers": "GeventWebSocketWorker",
    "geventwebsocket.logging": "create_logger",
    "geventwebsocket.utf8validator": "Utf8Validator",
    "geventwebsocket.utils": "get_version",
}


def test_every_public_name_is_there() -> None:
    imports = (f"from {module} import {', '.join(PUBLIC[module].split())}\n" for module in PUBLIC)
    assert run(INSTALL + "".join(imports)) == ""


def test_what_does_not_exist() -> None:
    program = (
        "try:\n    import geventwebsocket.nothing\n"
        "except ModuleNotFoundError as exc:\n    print(exc)\n"
        "import importlib.util\nprint(importlib.util.find_spec('geventwebsocket_other'))"
    )
    assert run(INSTALL + program) == "No module named 'geventwebsocket.nothing'\nNone\n"


def test_nothing_happens_without_install(original: pathlib.Path) -> None:
    program = "import geventws.compat, geventwebsocket\nprint(geventwebsocket.REAL)"
    assert run(program, original) == "True\n"


def test_twice() -> None:
    program = (
        "import sys\ngeventws.compat.install(max_size=5)\n"
        "from geventwebsocket.handler import WebSocketHandler\n"
        "geventws.compat.install(max_size=6)\n"
        "print(len([f for f in sys.meta_path if type(f).__module__ == 'geventws.compat']))\n"
        "print(WebSocketHandler.websocket_options)"
    )
    assert run(INSTALL + program) == "1\n{'max_size': 6}\n"


def test_wrong_options_install_nothing() -> None:
    program = (
        "import geventws.compat, sys\ntry:\n    geventws.compat.install(unknown=1)\n"
        "except TypeError:\n    print(geventws.compat.FINDER in sys.meta_path)"
    )
    assert run(program) == "False\n"


@pytest.mark.parametrize("first", ["", "from gevent import monkey; monkey.patch_all()\n"])
def test_patched_before_or_after(first: str) -> None:
    program = "from gevent import monkey; monkey.patch_all()\nimport geventwebsocket"
    assert run(first + INSTALL + program) == ""


def test_it_wins_over_gevent_websocket(original: pathlib.Path) -> None:
    program = (
        "import geventwebsocket.handler\nprint(hasattr(geventwebsocket, 'REAL'))\n"
        "print(geventwebsocket.handler.WebSocketHandler.__module__)\n"
        "try:\n    import geventwebsocket.extra\n"
        "except ModuleNotFoundError:\n    print('no mixture')"
    )
    assert run(INSTALL + program, original) == (
        "False\ngeventws.compat.geventwebsocket.handler\nno mixture\n"
    )


def test_too_late(original: pathlib.Path) -> None:
    program = (
        "import geventwebsocket, geventws.compat\ntry:\n    geventws.compat.install()\n"
        "except RuntimeError as exc:\n    print(exc)"
    )
    assert run(program, original) == (
        f"gevent-websocket was imported already, from {original}/geventwebsocket/__init__.py: call "
        "geventws.compat.install() before anything imports geventwebsocket\n"
    )


def test_too_late_for_engineio() -> None:
    program = (
        # As if gevent-websocket were not installed.
        "import sys\nsys.modules['geventwebsocket'] = None\n"
        "import engineio.async_drivers.gevent, geventws.compat\n"
        "del sys.modules['geventwebsocket']\ntry:\n"
        "    geventws.compat.install()\nexcept RuntimeError as exc:\n    print(exc)"
    )
    assert run(program) == (
        "python-engineio was set up without gevent-websocket already: call "
        "geventws.compat.install() before making a SocketIO or a Server object\n"
    )


def test_engineio_finds_it() -> None:
    program = (
        "import engineio\nserver = engineio.Server(async_mode='gevent')\n"
        "print(server._async['websocket'].__mro__[1].__name__)\ngeventws.compat.install()"
    )
    assert run(INSTALL + program) == "object\n"
