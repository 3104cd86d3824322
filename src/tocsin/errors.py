"""The one tree of errors."""
