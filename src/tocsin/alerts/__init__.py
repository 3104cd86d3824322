"""The life of alerts: which occurrences and conditions changed, and why.

In: what a rule saw at one instant, and what is remembered of the instance or run.
Out: the next state, with the reason for it as an enum.
Callers: the kinds in ``rules/kinds``. Never: SQL, files, a clock.
Start reading at ``conditions.py`` (life of a condition) or ``decisions.py`` (single events).
"""
