"""One registry, and its table of names."""
