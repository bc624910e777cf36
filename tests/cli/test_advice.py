"""Tests of geventws.cli.advice: what to do next."""

from __future__ import annotations

import socket
import ssl

import pytest

from geventws import Headers, InvalidStatus, InvalidUpgrade, InvalidURI, NegotiationError, Response
from geventws.cli.advice import advise, advise_on_response, first_line


def response(status: int, body: str = "", **headers: str) -> Response:
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Response(status, "Phrase", Headers(pairs), body.encode())


@pytest.mark.parametrize(
    ("exc", "advice"),
    [
        (InvalidURI("x", "no"), "ws://host:port/path"),
        (socket.gaierror(-2, "unknown"), "spelling of example.com"),
        (ConnectionRefusedError(111, "refused"), "Nothing listens on port 81"),
        (ssl.SSLCertVerificationError(1, "expired"), "--cafile"),
        (ssl.SSLEOFError(8, "closed"), "begins with ws://"),
        (ConnectionResetError(104, "reset"), "hung up"),
        (TimeoutError("timed out"), "--open-timeout"),
        (OSError(113, "no route"), "network between here and example.com"),
        (InvalidUpgrade("Upgrade"), "lost its Upgrade or Connection header"),
        (NegotiationError("no subprotocols supported"), "--subprotocol"),
        (ValueError("anything"), "options"),
    ],
)
def test_advice_on_exceptions(exc: Exception, advice: str) -> None:
    assert advice in " ".join(advise(exc, "example.com", 81).split())


@pytest.mark.parametrize("status", [200, 400, 404, 426])
def test_upgrade_that_may_be_lost(status: int) -> None:
    advice = advise_on_response(response(status))
    assert "proxy" in advice
    if status != 404:
        assert "proxy_http_version 1.1" in advice


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (response(301, Location="https://example.com/ws"), "doctor wss://example.com/ws"),
        (response(302, Location="/ws"), "doctor /ws"),
        (response(300), "not with 101"),
        (response(401), "ws://user:password@host/"),
        (response(403), "--origin"),
        (
            response(426, Sec_WebSocket_Version="7, 8"),
            "other versions of the protocol",
        ),
        (response(426, Sec_WebSocket_Version="13, 8"), "wants an upgrade"),
        (response(400, "Failed: missing Connection header.\n"), "see a good Connection header"),
        (response(426, "Failed: invalid Upgrade header: h2c\n"), "see a good Upgrade header"),
        (response(400, "The plain HTTP request was sent to HTTPS port"), "begins with wss://"),
        (response(502, Server="nginx"), "(This answer is from nginx.)"),
        (response(502, Server="gunicorn", Via="1.1 varnish"), "(This answer is from 1.1 varnish.)"),
        (response(418), "not with 101"),
    ],
)
def test_advice_on_responses(answer: Response, advice: str) -> None:
    assert advice in " ".join(advise_on_response(answer).split())


def test_first_line() -> None:
    assert first_line(response(404, "Not here.\nNor there.\n")) == "HTTP 404 Phrase: Not here."
    assert first_line(response(404)) == "HTTP 404 Phrase"
    page = response(404, "<html>", Content_Type="text/html; charset=utf-8")
    assert first_line(page) == "HTTP 404 Phrase"


def test_status_of_connect_is_explained_by_its_response() -> None:
    """`geventws doctor` looks at the response; the exception alone has no advice."""
    assert advise(InvalidStatus(response(404))) == "Check the options of this command."
