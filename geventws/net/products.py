"""How the software is named in opening handshakes (RFC 9110, section 5.6.2 of products)."""

from __future__ import annotations

import os
import sys

import gevent

from geventws.version import version

__all__ = ["SERVER", "USER_AGENT"]

_PRODUCTS = "Python/{}.{} gevent/{} geventws/{}".format(
    *sys.version_info[:2], gevent.__version__, version
)

# Server header of responses; None, from an empty variable, leaves it out.
SERVER: str | None = os.environ.get("GEVENTWS_SERVER", _PRODUCTS) or None

# User-Agent header of requests; None, from an empty variable, leaves it out.
USER_AGENT: str | None = os.environ.get("GEVENTWS_USER_AGENT", _PRODUCTS) or None
