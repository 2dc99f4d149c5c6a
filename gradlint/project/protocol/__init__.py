"""Backward, step and clear: the order of what trains, and optimizers, scalers and clipping in it."""
