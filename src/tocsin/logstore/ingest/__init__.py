"""Commits: payloads become rows, in one transaction each."""
