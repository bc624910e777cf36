"""Fuzzing of the ground floor: ``make fuzz`` searches, ``make test`` replays what was found."""
