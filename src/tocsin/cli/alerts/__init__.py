"""alerts, notifications, silence: what happened, and what people do about it."""
