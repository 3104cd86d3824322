"""tocsin.yaml, homes and packaged content."""
