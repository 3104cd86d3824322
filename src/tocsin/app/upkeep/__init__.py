"""Keeping a project directory: backup and restore of its stores, and what is wrong with it."""
