"""What the store remembers of recent commits, so that small commits ask no table."""
