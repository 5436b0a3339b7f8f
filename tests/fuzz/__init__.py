"""Fuzzing, in short: what was found once is fed again, and a planted defect is found."""
