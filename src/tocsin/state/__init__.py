"""The truth about what was notified."""
