"""Running probes: when, how often, against what, and what their outcomes add up to."""
