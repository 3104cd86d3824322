"""Evaluates rules at instants: commits and timers, in the order of their T.

In: commits after the cursor, timers that are due, source progress.
Out: one ``Outcome`` a step, written by the caller before the next step.
Callers: ``app/engine`` live, ``replay.py`` over a history, ``rules/testing``. Never: SQL of its own.
Start reading at ``driver.py`` (what comes next), then ``evaluate.py`` (what is decided).
"""
