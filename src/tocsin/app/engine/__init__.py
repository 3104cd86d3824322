"""Threads that join the stations: sources, writer, evaluator, mirror."""
