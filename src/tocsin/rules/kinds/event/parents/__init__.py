"""Event rules with `collapse`: one alert for a parent.

In: hits of runs with the same parent.
Out: one alert a parent, and its updates at the shares that the rule names.
Callers: ``event/commits.py``, ``timers.py`` and ``kind.py``. Never: an alert of a single run.
Start reading at ``collapse.py``.
"""
