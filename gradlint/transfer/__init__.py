"""The transfer function: how each event, and each call that torch gives a meaning, changes the state.

``interpreter`` handles the events · ``calls`` what a call does, by what is called · ``api`` functions and
classes of torch · ``methods`` methods of tensors, modules and optimizers · ``recorder`` writes down what happened.
"""
