"""Custom autograd functions and checkpoints."""
