"""Event rules: one alert for each occurrence of a run.

In: the rows of commits, ``final_after`` deadlines, closing timers.
Out: intents of single runs, of parents (``parents``), and of what resolves (``resolve``).
Callers: the driver, through ``KIND``. Never: a query for a row that the index rules out.
Start reading at ``kind.py``, then ``commits.py``.
"""
