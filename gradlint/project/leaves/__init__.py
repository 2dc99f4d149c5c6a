"""Leaves, parameters and flags: what is frozen, lost, hidden or tied, and where a value falls off the graph."""
