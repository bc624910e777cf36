"""``python -m geventws`` does what ``geventws`` does; see `geventws.cli`."""

from __future__ import annotations

import sys

from geventws.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
