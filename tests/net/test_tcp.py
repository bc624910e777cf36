"""Connecting: look-ups that do not block, and addresses of which some are dead."""

from __future__ import annotations

import pathlib
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gevent
import gevent.socket
import pytest

from geventws.net import tcp
from geventws.net.hubs import get_hub_state
from geventws.net.tcp import AddressInfo, connect_tcp, connect_unix, resolve
from tests.net.support import HOST, PATIENCE, SlowDNS, black_hole, free_port, in_thread, until


@pytest.fixture
def listener() -> Iterator[Any]:
    with gevent.socket.create_server((HOST, 0)) as sock:
        yield sock


def info(address: Any, family: int = socket.AF_INET) -> AddressInfo:
    return family, socket.SOCK_STREAM, 0, "", address


# Names.


def test_resolve() -> None:
    assert info((HOST, 80)) in [(*found[:2], 0, "", found[4]) for found in resolve("localhost", 80)]
    assert resolve("localhost", 80, socket.AF_INET)[0][4] == (HOST, 80)


@pytest.mark.parametrize("host, family", [(HOST, socket.AF_INET), ("::1", socket.AF_INET6)])
def test_address_needs_no_look_up(host: str, family: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tcp.socket, "getaddrinfo")
    found = resolve(host, 80)
    assert (found[0][0], found[0][4][:2]) == (family, (host, 80))


@pytest.mark.parametrize("host", ["does-not-exist.invalid", "a" * 64 + ".invalid", "a..invalid"])
def test_unknown_name(host: str) -> None:
    with pytest.raises(socket.gaierror):
        resolve(host, 80)


def test_slow_look_up_blocks_nobody() -> None:
    with SlowDNS() as dns:
        looking_up = gevent.spawn(resolve, "slow.invalid", 80)
        until(dns.asked.is_set)
        # If it blocked the hub, nobody could say that there is an answer.
        assert not looking_up.ready()
        dns.answer.set()
        assert looking_up.get(timeout=PATIENCE)[0][4] == (HOST, 80)


def look_up_natively(host: str, timeout: float = PATIENCE) -> Any:
    """Look up a name in a native thread that has no hub but what is made for it."""

    def look_up() -> Any:
        state = get_hub_state()
        try:
            with gevent.Timeout(timeout):
                return resolve(host, 80, socket.AF_INET)
        finally:
            # Nothing waits for the look-up.
            state.release()

    return in_thread(look_up)


def test_native_thread() -> None:
    assert look_up_natively("localhost")[0][4] == (HOST, 80)


def test_unknown_name_in_a_native_thread() -> None:
    with pytest.raises(socket.gaierror):
        look_up_natively("does-not-exist.invalid")


def test_slow_look_up_is_left_alone_in_a_native_thread() -> None:
    with SlowDNS() as dns:
        with pytest.raises(gevent.Timeout):
            look_up_natively("slow.invalid", 0.05)
        assert dns.asked.is_set()


# TCP.


def test_connect(listener: Any) -> None:
    with closing(connect_tcp([info(listener.getsockname())])) as sock:
        assert sock.getpeername() == listener.getsockname()
        assert sock.gettimeout() == 0


def test_dead_address_is_overtaken(listener: Any) -> None:
    with black_hole() as dead:
        with closing(connect_tcp([info(dead), info(listener.getsockname())])) as sock:
            assert sock.getpeername() == listener.getsockname()


def test_slow_address_stays_in_the_race(listener: Any) -> None:
    with black_hole() as dead:
        connecting = gevent.spawn(connect_tcp, [info(listener.getsockname()), info(dead)])
        with closing(connecting.get(timeout=PATIENCE)) as sock:
            assert sock.getpeername() == listener.getsockname()


def test_the_next_address_follows_a_failure_at_once(
    listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "ATTEMPT_DELAY", 2 * PATIENCE)
    refusing = [info((HOST, free_port())), info(("not an address", 1), 98)]
    with closing(connect_tcp([*refusing, info(listener.getsockname())])) as sock:
        assert sock.getpeername() == listener.getsockname()


def test_a_failure_does_not_end_the_race(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "ATTEMPT_DELAY", 0.01)
    with black_hole() as dead, pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
        connect_tcp([info(dead), info((HOST, free_port()))])


def test_nobody_answers() -> None:
    with pytest.raises(ConnectionRefusedError, match="Connection refused"):
        connect_tcp([info((HOST, free_port()))])
    with pytest.raises(ConnectionRefusedError):
        connect_tcp([info((HOST, 1), 98), info((HOST, free_port()))])


def test_all_errors() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        connect_tcp([info((HOST, free_port())), info((HOST, 1), 98)], all_errors=True)
    assert len(raised.value.exceptions) == 2
    assert all(isinstance(exc, OSError) for exc in raised.value.exceptions)


def test_families_take_turns() -> None:
    six, four = socket.AF_INET6, socket.AF_INET
    infos = [info(number, family) for number, family in enumerate([six, six, six, four, four])]
    assert [found[4] for found in tcp._take_turns(infos)] == [0, 3, 1, 4, 2]


def test_source_address(listener: Any) -> None:
    with closing(connect_tcp([info(listener.getsockname())], ("127.0.0.2", 0))) as sock:
        assert sock.getsockname()[0] == "127.0.0.2"
    with pytest.raises(OSError):
        connect_tcp([info(listener.getsockname())], ("192.0.2.1", 0))


@pytest.mark.parametrize("exc", [gevent.GreenletExit, gevent.Timeout])
def test_interrupted(exc: type[BaseException]) -> None:
    with black_hole() as one, black_hole() as other:
        connecting = gevent.spawn(connect_tcp, [info(one), info(other)])
        gevent.sleep(tcp.ATTEMPT_DELAY + 0.05)
        connecting.kill(exc)
        # That no socket is left is seen after the test.
        assert connecting.dead


# Unix sockets.


def test_connect_unix(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "socket")
    with gevent.socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with closing(connect_unix(path)) as sock:
            assert sock.getpeername() == path
            assert sock.gettimeout() == 0


def test_connect_unix_waits_for_room(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "socket")
    with gevent.socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        with closing(connect_unix(path)):
            waiting = gevent.spawn(connect_unix, path)
            gevent.sleep(0.05)
            assert not waiting.ready()
            listener.accept()[0].close()
            waiting.get(timeout=PATIENCE).close()


@pytest.mark.parametrize("kind", ["nothing", "file", "folder", "deaf"])
def test_no_unix_socket(kind: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "socket"
    if kind == "file":
        path.write_text("")
    elif kind == "folder":
        path.mkdir()
    elif kind == "deaf":
        with gevent.socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
    with pytest.raises(FileNotFoundError if kind == "nothing" else ConnectionRefusedError):
        connect_unix(str(path))
