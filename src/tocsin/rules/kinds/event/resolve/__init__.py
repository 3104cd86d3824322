"""Active event alerts: what resolves, repeats and closes them."""
