"""The stages between an intent and its messages, in the order in which an alert passes them; see ``run``."""
