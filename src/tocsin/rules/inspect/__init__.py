"""What a rule is and does, for people: explain, lint, preview."""
