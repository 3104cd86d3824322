"""Rules from and to other systems: Azure Monitor's scheduled query rules, Prometheus's rule files."""
