"""How this run of the tests differs from others; tests/conftest.py tells what there is."""

from __future__ import annotations

import os

# More of the same, where `make test` has no time for it.
LONG = os.environ.get("GEVENTWS_TEST_LONG") == "1"
