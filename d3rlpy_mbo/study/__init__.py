"""A grid of runs: made, resumed, reported. Needs the extra `studies`."""
