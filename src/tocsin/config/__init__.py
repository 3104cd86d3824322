"""tocsin.yaml, project directories and packaged content."""
