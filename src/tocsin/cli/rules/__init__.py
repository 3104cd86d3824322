"""rules: what alert rules are, do and notify."""
