"""KQL: the only room that knows duckdb_kql."""

from tocsin.kql import late as late  # first: it imports upstream in its own way
from tocsin.kql.classify import EVENTS, Classified, classify
from tocsin.kql.prefilter import ANY
from tocsin.kql.rowplan import IDENTITY, Op, Predicate, RowPlan, row_plan
from tocsin.kql.sandbox import user_query
from tocsin.kql.schema import Schema, did_you_mean, schema_with
from tocsin.kql.sqlcheck import check_sql
from tocsin.kql.translate import Translation, translate

__all__ = [
    "ANY",
    "EVENTS",
    "IDENTITY",
    "Classified",
    "Op",
    "Predicate",
    "RowPlan",
    "Schema",
    "Translation",
    "check_sql",
    "classify",
    "did_you_mean",
    "row_plan",
    "schema_with",
    "translate",
    "user_query",
]
