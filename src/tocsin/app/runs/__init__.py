"""Runs as people look at them and act on them: lists, curves, files, tags, cancel."""
