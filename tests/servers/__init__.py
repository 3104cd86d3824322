"""Real servers for tests: Apache Kafka, an SMTP server, Prometheus. Each a process of its own on loopback."""
