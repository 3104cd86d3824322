"""On-call schedules and escalations: pure, and they say why."""
