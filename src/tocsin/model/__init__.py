"""Frozen values that every station agrees on."""
