"""Window rules: queries over a span of time."""
