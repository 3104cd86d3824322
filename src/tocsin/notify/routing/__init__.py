"""Who is notified, and why."""
