"""examples/broadcast.py: lines of its standard input reach all clients, and its end ends it."""

from __future__ import annotations

from gevent import subprocess

from geventws import connect
from tests.examples.support import started


def test_broadcast() -> None:
    process = started("broadcast.py", "--port", "0", stdin=subprocess.PIPE)
    uri = f"ws://127.0.0.1:{process.address[1]}"
    try:
        with connect(uri) as ann, connect(uri) as bob:
            process.process.stdin.write("one\nzwölf\n".encode())
            process.process.stdin.close()
            assert list(ann) == list(bob) == ["one", "zwölf"]
            assert ann.close_code == 1001
        assert process.process.wait(timeout=10) == 0
        assert "Traceback" not in process.log
    finally:
        process.stop()
