"""Where values come from and where they go, in one body and across those of a file.

Events and what stands for them, the order in which they may run, names for one memory, and what becomes of a value.
"""
