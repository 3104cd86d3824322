"""Queries as plans that many rules share."""
