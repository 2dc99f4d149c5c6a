"""Facts about edits in place besides those of `Edit`: what the rules GRD3xx read."""
