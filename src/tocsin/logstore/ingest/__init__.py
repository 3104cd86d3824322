"""In: batches of messages, and what is known of earlier commits.
Out: rows of events, heartbeats and runs, dead letters and positions, written in one transaction.
Callers: ``duck.DuckLogStore.append``.
Never: commits; the caller opens and ends the transaction, and tells ``recent`` what is durable.
Start reading at ``commit.py`` (``write``): up to 400 messages go through ``small.py``, more through SQL.
"""
