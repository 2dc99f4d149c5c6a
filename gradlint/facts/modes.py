"""Facts about what turning gradients off does to what is trained, and to what runs elsewhere: what the rules GRD1xx read."""
