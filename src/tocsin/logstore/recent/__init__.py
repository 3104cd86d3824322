"""In: what each durable commit wrote.
Out: answers from memory that the tables would give too, or None: then the caller asks the tables.
Callers: ``ingest`` (duplicates, heartbeats, rows of runs) and ``duck`` (rows and runs of the newest commits).
Never: answers what it does not know for certain.
Start reading at ``changes.py``; the figures that keep each memory stand in docs/decisions/0019.
"""
