"""The whole program from outside: its wheel, its command, its ports."""
