"""Absence rules about single runs: timeouts and heartbeats.

In: commits that touch a run, deadlines that are due.
Out: alerts of runs that are stuck, silent or too slow; deadlines in memory.
Callers: the driver, through ``KIND``. Never: a deadline in the state, since it follows from the log.
Start reading at ``kind.py``, then ``commits.py`` (sets) and ``evaluate.py`` (fires).
"""
