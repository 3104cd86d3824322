"""tocsin.yaml, project directories and packaged content.

In: files of a project directory, variables of the environment, options of commands.
Out: frozen settings, documents with line numbers, tokens, calendars, reference tables.
Called by: every room above; each reads its own files through yaml/document.py.
Never: opens a store, evaluates a rule or talks to a running tocsin.
Start at: project/home.py, then yaml/document.py.
"""
