"""WindowSpec rules: queries over a span of time."""
