"""Exports of pagers as on-call files."""
