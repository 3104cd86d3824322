"""Who comes in: roles, credentials, sessions, signatures."""
