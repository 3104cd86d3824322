"""A made-up day of training runs.

In: an end, a seed and a speed.
Out: canonical events, posted to a running tocsin; rules and on-call files beside the shipped ones.
Called by: app/run/up.py, for `tocsin up --demo`.
Never: imports the engine: to tocsin its events are those of any producer.
Start at: play.py, then day.py.
"""
