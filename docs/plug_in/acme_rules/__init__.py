"""House rules of Acme: one module per rule."""
