"""Rules of other systems, in and out.

In: files of Prometheus, Alertmanager and Azure Monitor; rules and on-call files of ours.
Out: files in the form of the other side, and a report of what could not be kept.
Called by: cli/rules/interchange.py.
Never: evaluates a rule or asks a store.
Start at: importing.py, then azure/write.py for exports.
"""
