"""Inline tests: the engine with a clock moved by hand."""
