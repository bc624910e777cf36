"""The echo client that Autobahn|Testsuite examines: ``client.py URI``; it prints the build."""

from __future__ import annotations

import contextlib
import sys

import geventws
from geventws.build import build_name
from tests.compliance.options import OPTIONS


def run(uri: str) -> None:
    """Do what the fuzzing server asks for: say which cases there are, and echo in each."""
    with geventws.connect(f"{uri}/getCaseCount") as ws:
        count = int(ws.recv())
    for number in range(1, count + 1):
        case = f"{uri}/runCase?case={number}&agent=geventws"
        with geventws.connect(case, **OPTIONS) as ws:
            with contextlib.suppress(geventws.ConnectionClosed):
                for message in ws:
                    ws.send(message)
    geventws.connect(f"{uri}/updateReports?agent=geventws", **OPTIONS).close()


print(build_name(), flush=True)
run(sys.argv[1])
