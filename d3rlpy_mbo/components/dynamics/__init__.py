"""Models: the interface, then the probabilistic ensemble."""
