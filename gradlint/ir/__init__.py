"""The intermediate representation: events on a control-flow graph. Knows no language and no torch."""
