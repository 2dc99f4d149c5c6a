"""Files and their text: which to read, how to decode and parse them, positions, suppression comments."""
