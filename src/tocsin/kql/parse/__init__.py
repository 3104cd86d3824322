"""In: the text of a query.
Out: a text that the translator takes (``rewrite``), and its tree (``read``).
Callers: ``bind/translate`` alone.
Never: knows a table, a column or a type.
Start reading at ``rewrite.py``; ``read.py`` is the parser of the forms that nearly all queries have.
"""
