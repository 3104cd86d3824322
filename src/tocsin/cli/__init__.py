"""The command line; it calls app."""
