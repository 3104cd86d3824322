"""init, check, up, doctor, backup: a project directory."""
