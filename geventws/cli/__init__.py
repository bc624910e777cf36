"""The command line: ``geventws`` and ``python -m geventws``."""
