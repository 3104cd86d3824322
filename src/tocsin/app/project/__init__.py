"""A project directory's files and stores, opened and checked."""
