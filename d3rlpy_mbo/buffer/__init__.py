"""The seam: a d3rlpy replay buffer of real and imagined rows."""
