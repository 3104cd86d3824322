"""In: batches of received messages (``append``), and queries.
Out: receipts once a commit is durable, rows of Arrow, commits in order.
Callers: the writer and the evaluator of ``app``, ``rules`` (as a ``LogReader``), ``notify`` for the facts of a mail.
Never: decides whether something fires, or changes a row of an event once it is stored.
Start reading at ``interface.py`` (the contract), then ``duck.py``.
"""
