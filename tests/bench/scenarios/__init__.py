"""One question per file; ``SCENARIOS`` in each holds its tables."""
