"""The transfer function: how each event, and each call that torch gives a meaning, changes the state.

``interpreter`` runs the blocks of a body, ``events`` handles each event · ``attributes`` and ``saving`` what reading,
writing and computing do to tensors · ``calls`` goes by what is called: ``api`` (functions and classes of torch),
``methods`` (of tensors, modules, containers), ``gradients`` (backward, step, clear), ``contexts``, ``switching`` and
``by_hand`` (grad modes) · ``misuse``, ``inference`` note mistakes on the way · ``recorder`` writes down what happened.
"""
