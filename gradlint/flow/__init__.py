"""The dataflow kernel: what a lattice owes, and the worklist that finds a fixpoint. Knows nothing about torch."""
