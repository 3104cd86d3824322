"""Times, wall clocks, calendars and maintenance windows as values."""
