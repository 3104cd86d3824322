"""Notifications as messages."""
