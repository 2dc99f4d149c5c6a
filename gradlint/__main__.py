"""`python -m gradlint`: the same as the `gradlint` command.

Python puts the current folder first on `sys.path` for ``-m``. That folder is what is being linted and must
never be imported from, so it goes before anything else is imported.
"""

import sys

if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", False) and not sys.flags.isolated:
        del sys.path[0]
    from gradlint.cli import main

    sys.exit(main())
