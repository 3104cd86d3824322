"""DeadlineSpec rules about single runs: timeouts and heartbeats."""
