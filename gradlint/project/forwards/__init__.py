"""Forwards that record a graph, and whether anybody walks it: what the rules about evaluation go by."""
