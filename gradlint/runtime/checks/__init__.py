"""What the asserts look at, and how they say what is to blame."""
