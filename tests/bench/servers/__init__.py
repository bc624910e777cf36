"""Echo servers to compare: each listens on a free port of 127.0.0.1 and prints it."""
