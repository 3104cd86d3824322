"""Who is on call when, and who is notified next: pure values and functions, each answer with its reason."""
