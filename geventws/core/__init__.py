"""The ground floor: RFC 6455 and RFC 7692 without I/O and without a clock.

Rules of this floor:

1. Bytes come in, events come out; calls come in, bytes come out. Nothing here reads a
   socket, starts a timer, or switches greenlets, so it works under any I/O library.
2. It imports the standard library only, minus ``socket``, ``ssl``, ``select``,
   ``selectors``, ``threading``, ``asyncio``, and ``time``; ``tests/test_architecture.py``
   says so.
3. Every limit is a parameter with a default and a sentence why.
"""
