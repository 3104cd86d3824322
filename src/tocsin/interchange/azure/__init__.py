"""Azure Monitor's alert rule resources."""
