"""Wires the stations and runs them."""
