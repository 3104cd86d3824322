"""Evaluates rules at instants."""
