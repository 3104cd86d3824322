"""Texts read and written the same everywhere: JSON, timespans, causes, secrets left out, templates bounded, links signed."""
