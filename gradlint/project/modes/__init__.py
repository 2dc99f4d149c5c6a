"""Grad modes, eval and train mode: what is computed in the wrong one, and modes that escape or never arrive."""
