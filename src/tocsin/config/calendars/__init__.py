"""Calendars and maintenance windows."""
