"""Servers to compare: each listens on a free port of 127.0.0.1 and prints it.

Echo servers send back what they get; ``broadcast`` servers send it to all connections. All send
the same bytes. With the argument ``deflate`` messages are compressed, otherwise not.
"""
