"""Window rules: queries over a span of time.

In: ticks, ends of ``for``, and commits for rules that fire early.
Out: conditions of instances, by one query for all rules of a shape.
Callers: the driver, through ``KIND``. Never: a query for each rule of a shape.
Start reading at ``kind.py``, then ``evaluate.py``.
"""
