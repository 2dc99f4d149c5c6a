"""From bodies to facts: what names stand for across one file, summaries of its functions, and the facts of each body."""
