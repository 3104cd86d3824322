"""What can be asked of a project directory, running or not."""
