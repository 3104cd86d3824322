"""Absence rules about single runs: timeouts and heartbeats."""
