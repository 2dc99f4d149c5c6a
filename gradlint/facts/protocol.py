"""Facts about what happens around an optimizer's step: what the rules GRD5xx read."""
