"""Small real runs of the frameworks that have a contract, which tell what the contract's rows say.

Every framework runs in a process of its own (``python -m framework_runs NAME FILE``), because most of them change
warnings, logging, process groups or the environment of whoever imports them. ``tests/test_frameworks_observed.py``
compares what is written with the rows.
"""
