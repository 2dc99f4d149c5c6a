"""Facts about custom autograd functions and checkpoints: what the rules GRD6xx read."""
