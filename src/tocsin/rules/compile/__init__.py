"""From rule files to rules in force.

In: YAML files and tables.
Out: a ``RuleSet``, or all faults with file and line.
Callers: ``app/project`` at a start and a reload, ``interchange`` for an import. Never: reads events.
Start reading at ``load.py``, then ``rule.py``.
"""
