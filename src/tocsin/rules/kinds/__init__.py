"""The kinds of rules, a package each.

In: what rule files say; later commits and timers.
Out: a spec a rule; later decisions, written to ``Memory``.
Callers: ``rules/compile`` and ``rules/driver``, through ``registry.py``. Never: names a kind outside its own package.
Start reading at ``base.py``, the interface, then a package's ``kind.py``.
"""
