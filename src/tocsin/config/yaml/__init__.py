"""YAML with line numbers, and the spellings of its values."""
