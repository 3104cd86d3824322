"""What rule files say: models, templates and checks that every kind shares.

In: YAML documents.
Out: validated models, and faults with file and line.
Callers: ``rules/compile`` and the kinds. Never: evaluates a rule.
Start reading at ``schema.py``.
"""
