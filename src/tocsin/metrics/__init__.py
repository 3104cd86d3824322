"""One registry object and its table of names."""
