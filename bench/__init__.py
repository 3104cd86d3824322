"""Benchmarks: each prints what it ran, and a ratio against a ceiling of the same run or a figure seen from outside."""
