"""Two variants of a step, run from the same state and compared."""
