"""Wires the stations and runs them.

In: a project directory, settings, what the web and the commands ask or order.
Out: a running tocsin, rows that answer questions, transactions of the state.
Called by: cli, web and interchange.
Never: decides whether an alert fires; rules and alerts do.
Start at: run/up.py, then run/app.py; engine/evaluator.py for the path of an event.
"""
