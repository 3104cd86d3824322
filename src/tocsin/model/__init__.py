"""Frozen values that every station agrees on.

In: texts, numbers and times that a station has checked.
Out: events, intents, deliveries, timers and the state of runs, as values that no one changes.
Called by: all rooms; sdk and core use nothing else of tocsin.
Never: reads a file, asks a store, or looks at the clock.
Start at: event.py, then intent.py and delivery.py.
"""
