"""A training step made to fit: loops, recomputation, addresses."""
