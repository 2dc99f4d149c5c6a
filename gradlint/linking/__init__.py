"""Across files: what each file tells the others, and what the others tell it.

A file is analysed alone first. What it tells (`interface`) is plain data. `modules` and `names` find out what the
imports of one file stand for in another, `callers` in which circumstances every function is called, and `views` put
together what one file needs to know of all the others; the file is then analysed again with that. Nothing in here
knows a syntax tree, a program, or torch.
"""
