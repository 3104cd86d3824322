"""Active event alerts: what resolves, repeats and closes them.

In: commits with resolving events, timers of open alerts.
Out: resolved, repeated and closed alerts.
Callers: ``commits.py``, ``decisions.py``, ``timers.py`` and ``kind.py`` of ``event``. Never: makes the first alert of a run.
Start reading at ``commits.py``, then ``timers.py``.
"""
