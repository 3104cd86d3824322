"""Inline tests: the engine with a clock moved by hand.

In: the ``tests:`` of rules.
Out: results with the story of each failure, also as JUnit XML.
Callers: ``cli`` for ``rules test`` and ``rules mutate``, ``app/views`` for ``check``. Never: a store on disk.
Start reading at ``run.py``, then ``simulator.py``; ``mutants.py`` tests the tests.
"""
