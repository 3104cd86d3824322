"""Absence rules with a schedule.

In: deadlines of a cron expression, and commits while something is missing.
Out: alerts of what is missing, and their ends.
Callers: the driver, through ``KIND``. Never: reads commits while nothing is missing.
Start reading at ``kind.py``, then ``evaluate.py``.
"""
