"""Where queries run: read-only, with a time limit."""
