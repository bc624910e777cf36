"""Serves the chat of examples/chat.py, as it is, on a Unix socket: ``chat_unix.py PATH``."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import geventws

chat = runpy.run_path(str(Path(__file__).resolve().parents[2] / "examples" / "chat.py"))

server = geventws.unix_serve(chat["chat"], sys.argv[1], process_request=chat["page"], max_size=4096)
print("Chat at", sys.argv[1], flush=True)
server.serve_forever()
