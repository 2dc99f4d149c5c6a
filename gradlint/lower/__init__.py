"""Front ends: each turns the source of one language into bodies of the intermediate representation."""
