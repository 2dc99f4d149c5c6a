"""Facts about graphs that live too long, or are walked once too often: what the rules GRD4xx read."""
