"""What a rule is and does, for people: explain, lint, preview.

In: compiled rules, and a log reader for a preview.
Out: values and findings with file and line.
Callers: ``app/views`` and ``cli``. Never: changes a rule, or remembers anything.
Start reading at ``explain.py``.
"""
