"""Backtests: what a rule would have sent over stored history."""
