"""A made-up day of training runs."""
