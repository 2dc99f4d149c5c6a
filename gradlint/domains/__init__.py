"""What gradlint tracks at every point of a body: finite powersets, with union as join.

``values`` what a name may stand for · ``grad_mode`` which modes may be in force · ``tensor`` how a value hangs on the
autograd graph · ``state`` their product, one element of the lattice.
"""
