"""Occurrences and conditions: what changed, decided without I/O."""
