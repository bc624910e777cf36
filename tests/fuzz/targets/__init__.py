"""What is fuzzed: each module has `check`, which raises where something does not hold.

``TOKENS`` are words of the grammar, which the fuzzer tries out in places of its choice.
"""
