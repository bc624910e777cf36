"""We and Node's ws, as server and client of each other."""

from __future__ import annotations

import pathlib
import re
import shutil
from typing import Any

import pytest

from tests.interop.suite import COMBINATIONS, Fragments, Suite, answer

FOLDER = pathlib.Path(__file__).parent

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (FOLDER / "node_modules").is_dir(),
    reason="ws is not installed (Debian: npm; then make test installs it)",
)


def in_its_words(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the options of ws, which are spelled in another way."""
    options = {
        re.sub("_(.)", lambda match: match[1].upper(), name): value
        for name, value in parameters.items()
        if value
    }
    return {"perMessageDeflate": {"threshold": 0, **options}}


def negotiations() -> Any:
    for role, peer in (("client", "server"), ("server", "client")):
        # Node compresses for a window of 8 bits as for one of 9, of which zlib uses 250 bytes.
        for parameters in [{f"{peer}_max_window_bits": 8}, *COMBINATIONS]:
            # We ask, and then it does.
            yield role, parameters, in_its_words({}), answer(**parameters)
            yield role, {}, in_its_words(parameters), answer(**parameters)


class TestWs(Suite, Fragments):
    command = ["node", str(FOLDER / "peers" / "ws_peer.mjs")]
    negotiations = list(negotiations())
