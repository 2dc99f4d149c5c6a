"""Edits in place: of what a backward needs, of views, of what others hold."""
