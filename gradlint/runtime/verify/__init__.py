"""``gradlint verify``: a program is run under a recording, the code that ran is linted, and each finding judged."""
