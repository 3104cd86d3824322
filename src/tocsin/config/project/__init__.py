"""Project directories: files, tokens, tables, the lock."""
