"""From bodies to facts.

``program`` the tables of one file, on ``scopes`` (names) and ``kinds`` (what things are) · ``summaries`` calls of its
own functions · ``entries`` in which modes they are entered · ``analysis`` the facts of each body.

``values/`` where values come from and go · ``linked/`` what files tell each other · ``forwards/`` graphs that nobody
walks. The other folders find the facts of the same name in `gradlint.facts`, a module per question: ``modes/``,
``leaves/``, ``edits/``, ``lifetime/``, ``protocol/``, ``functions/``.
"""
