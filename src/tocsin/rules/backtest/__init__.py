"""Backtests: what a rule would have sent over stored history.

In: one rule, a log reader and a span of time.
Out: a ``Backtest``, with reports of it as text, JSON and HTML.
Callers: ``app/views/backtest.py``. Never: writes to the log store or the state.
Start reading at ``run.py``; ``driver/replay.py`` moves the clock.
"""
