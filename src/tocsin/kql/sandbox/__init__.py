"""All that tocsin takes from duckdb_kql: the only import of it."""

from tocsin.kql.sandbox import late as late  # first: it imports upstream in its own way
