"""The rule language: schema, compilation, evaluation.

In: rule files, commits of the log store, timers that are due.
Out: an ``Outcome`` for the state: transitions, intents, timers.
Callers: ``app`` (the evaluator's thread), ``cli``, ``web``. Never: sends a message, or imports ``intake`` or ``notify``.
Start reading at ``driver/driver.py``, then ``kinds/base.py``.
"""
