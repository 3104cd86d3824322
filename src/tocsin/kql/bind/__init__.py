"""In: the tree of a query, and the schema.
Out: the tree with the type of each name, and the SQL of it; SQL of users checked statement by statement (``sqlcheck``).
Callers: ``plan``, and whoever translates one query by itself.
Never: runs SQL over stored rows; DuckDB only binds it, over empty tables.
Start reading at ``translate.py``; ``scope.py`` is the pass over the tree.
"""
