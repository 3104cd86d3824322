"""What failures mean: causes found in the texts of a run that ended badly.

In come the files of `rules/causes/` and the texts of failed runs. Out goes a `Found`: cause, reason, the line that says
so. `cli` calls it; the log store will, in its commit. It never guesses: what no pattern knows has no cause.
Start with `engine.find`.
"""
