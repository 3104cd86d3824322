"""In: the text of a KQL or SQL query, and the schema it may read.
Out: SQL for DuckDB, the types of its columns, a plan that rules of one shape share, or ``QueryError`` with its place.
Callers: ``rules`` (each kind compiles its query), ``app`` and ``interchange`` (queries that somebody typed).
Never: runs a query on the event store, reads a clock, or imports duckdb_kql outside ``sandbox``.
Start reading at ``bind/translate.py`` (``translate``), then ``plan/rowplan.py`` (``row_plan``).
"""
