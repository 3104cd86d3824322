"""Remembers what was decided and who was notified, in one transactional database.

In: outcomes of evaluations, deliveries and their attempts, actions of people. Out: the same, read back, and rows for the log store.
Called by: app's evaluator and pages, notify, and the simulator of rule tests.
Never: decides anything, reads events, or writes half of a change.
Start at: `interface.py`, the contract; `sql.SqlState` fulfils it; `tables.py` has the tables.
"""
