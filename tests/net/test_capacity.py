"""How many connections a server serves."""

from __future__ import annotations

import resource
from typing import Any

import pytest

from geventws import InvalidStatus, connect, serve
from geventws.net import capacity
from geventws.net.capacity import Capacity, default_limit
from geventws.testing import RawClient
from tests.net.support import (
    HOST,
    PATIENCE,
    Hold,
    allowing_descriptors,
    client_tls,
    echo,
    server_tls,
    serving,
    until,
    uri_of,
)


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_one_too_many(tls: bool, caplog: pytest.LogCaptureFixture) -> None:
    options: dict[str, Any] = {"ssl": server_tls()} if tls else {}
    client: dict[str, Any] = {"ssl": client_tls()} if tls else {}
    scheme = "wss" if tls else "ws"
    with serving(echo, max_connections=2, **options) as server:
        uri = uri_of(server, scheme)
        with connect(uri, **client) as one, connect(uri, **client):
            with pytest.raises(InvalidStatus) as raised:
                connect(uri, **client)
            response = raised.value.response
            assert response.status_code == 503
            assert response.headers["Retry-After"] == "5"
            assert response.body == b"Too many connections.\n"
            # Those that are served do not notice.
            one.send("hello")
            assert one.recv(PATIENCE) == "hello"
            with pytest.raises(InvalidStatus):
                connect(uri, **client)
        # There is room again.
        until(lambda: not server._roster.greenlets)
        connect(uri, **client).close()
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["2 connections are all that is allowed"]


def test_log_tells_again_after_there_was_room(caplog: pytest.LogCaptureFixture) -> None:
    with serving(echo, max_connections=1) as server:
        for _ in range(2):
            with connect(uri_of(server)):
                with pytest.raises(InvalidStatus):
                    connect(uri_of(server))
            until(lambda: not server._roster.greenlets)
    assert [record.levelname for record in caplog.records].count("WARNING") == 2


def test_a_handler_that_goes_on_takes_room() -> None:
    hold = Hold()
    with serving(hold, max_connections=1) as server:
        connect(uri_of(server)).close()
        hold.get()
        with pytest.raises(InvalidStatus):
            connect(uri_of(server))
        hold.done.set()
        until(lambda: not server._roster.greenlets)
        connect(uri_of(server)).close()


def test_who_says_nothing_takes_room() -> None:
    with serving(echo, max_connections=1) as server:
        with RawClient(server.address, open=False):
            until(lambda: server._roster.greenlets)
            with pytest.raises(InvalidStatus):
                connect(uri_of(server))


def test_only_some_are_refused_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "MAX_REFUSING", 2)
    with serving(echo, max_connections=1) as server, connect(uri_of(server)):
        with RawClient(server.address, open=False) as slow, RawClient(server.address, open=False):
            until(lambda: len(server._roster.greenlets) == 3)
            # Further ones do not even get an answer.
            with RawClient(server.address, open=False) as peer:
                peer.recv_eof()
            slow.send_bytes(RawClient.request())
            assert slow.recv_response().status_code == 503
            slow.close()
            until(lambda: len(server._roster.greenlets) == 2)
            with pytest.raises(InvalidStatus):
                connect(uri_of(server))


def test_shutdown_while_clients_are_refused() -> None:
    with serving(echo, max_connections=1, open_timeout=60) as server:
        with RawClient(server.address, open=False) as one:
            with RawClient(server.address, open=False) as other:
                until(lambda: len(server._roster.greenlets) == 2)
                until(lambda: None not in server._roster.greenlets.values())
                server.shutdown()
                for peer in (one, other):
                    assert peer.recv_response().status_code == 503


def test_who_is_refused_is_no_http_client_either() -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        raise AssertionError("there is no room")

    with serving(echo, max_connections=1, http=application) as server, connect(uri_of(server)):
        with RawClient(server.address, open=False) as peer:
            peer.send_bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert peer.recv_response().status_code == 503


def test_default_leaves_descriptors_for_handlers() -> None:
    with allowing_descriptors(1000):
        assert default_limit() == 900
        assert Capacity(None).limit == 900


def test_no_limit_of_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert default_limit() == capacity.FALLBACK


@pytest.mark.parametrize("count", [0, -1])
def test_bad_numbers(count: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        serve(echo, HOST, 0, max_connections=count)


def test_refused_greenlets_are_forgotten() -> None:
    limited = Capacity(1)
    served, refused = object(), object()
    greenlets = {served, refused}
    limited.refuses(refused)
    assert not limited.admits(greenlets, 2)
    greenlets.remove(served)
    # The only one that is left is refused: there is room.
    assert limited.admits(greenlets, 1)
    greenlets.remove(refused)
    assert limited.admits(greenlets, 0)
