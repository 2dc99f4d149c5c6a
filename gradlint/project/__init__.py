"""From bodies to facts.

``program`` the tables of one file, on ``scopes`` (names) and ``kinds`` (what things are) · ``summaries`` calls of its
own functions · ``entries`` in which modes they are entered · ``analysis`` the facts of each body. Beside them a module
per question: ``leaks``, ``decorations``, ``freezes``, ``evaluation`` (on ``uses`` and ``forwards``), ``protocol``.
"""
