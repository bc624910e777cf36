"""The version of geventws, in one place."""

from __future__ import annotations

__all__ = ["version"]

version = "0.1.0"
