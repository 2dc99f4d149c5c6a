"""The rules, one module each: ``grd101_backward_without_graph.py`` holds GRD101, its code and its page."""
