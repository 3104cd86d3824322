"""Absence rules with a schedule."""
