"""Compiled rules as values.

In: what ``rules/compile`` and the kinds found.
Out: frozen ``Rule`` values with a spec of their kind.
Callers: everything in ``rules``. Never: reads a file or a store.
Start reading at ``rule.py``.
"""
