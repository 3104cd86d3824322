"""Groups of methods of a Run: what it is, its labels, metrics and files."""
