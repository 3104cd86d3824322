"""The HTTP surface; it calls app."""
