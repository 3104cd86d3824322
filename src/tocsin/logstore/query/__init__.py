"""Reading: sandboxed queries with limits."""
