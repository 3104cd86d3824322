"""Processes: submitted scripts, commands that are wrapped, and how runs end with their processes."""
