"""What gradlint tracks at every point of a body, and how events change it.

``values`` what a name may stand for · ``grad_mode`` which modes may be in force · ``tensor`` how a value hangs
on the autograd graph · ``state`` their product, one element of the lattice · ``interpreter`` the transfer
function · ``calls``, ``methods`` the part of it that knows what torch does.
"""
