"""In: the query of a rule, and the schema.
Out: ``RowPlan`` (events, one by one), ``WindowPlan`` (tables cut to a window), or the translation of a typed query.
Callers: the kinds of ``rules``; ``app`` for typed queries.
Never: runs what it plans; ``bind`` of a plan returns SQL and its parameters.
Start reading at ``shapes.py`` (which literals become constants), then ``rowplan.py``.
"""
