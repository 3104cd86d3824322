"""KQL: the only room that knows duckdb_kql."""

from tocsin.kql.bind.sqlcheck import check_sql
from tocsin.kql.bind.translate import Translation, translate
from tocsin.kql.plan.classify import EVENTS, Classified, classify
from tocsin.kql.plan.prefilter import ANY
from tocsin.kql.plan.query import user_query
from tocsin.kql.plan.rowplan import IDENTITY, Op, Predicate, RowPlan, row_plan
from tocsin.kql.schema import Schema, did_you_mean, schema_with

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
