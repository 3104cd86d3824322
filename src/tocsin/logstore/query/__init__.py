"""In: SQL of tocsin or of a user, with its parameters and limits.
Out: tables of Arrow, or the reason why DuckDB refused.
Callers: ``duck.DuckLogStore``.
Never: writes; a query runs READ ONLY, within a time, a number of rows and a share of memory.
Start reading at ``select.py`` (``Reader``).
"""
