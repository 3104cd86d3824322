"""Channels: how a message leaves."""
