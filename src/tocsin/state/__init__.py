"""The truth about what was told."""
