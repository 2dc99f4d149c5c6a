"""The watchers of a recording, one per subject.

Each has ``start()``, ``stop()`` and ``fill(recording)``. While a run is watched they count by `Spot`, which costs
little; places are looked up in ``fill``. What they put in the way of torch is taken back in ``stop``.
"""
