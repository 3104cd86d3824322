"""KQL: the only room that knows duckdb_kql."""
