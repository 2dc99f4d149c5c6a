"""Facts about where a value falls off the graph, and what an optimizer or a flag then misses: what the rules GRD2xx read."""
