"""Compiled rules as values."""
