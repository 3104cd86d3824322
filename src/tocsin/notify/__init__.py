"""From intents to mails that went out once."""
