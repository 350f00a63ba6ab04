"""Tables, maps and comparisons of plans."""
