"""Configurations of Alertmanager as on-call files."""
