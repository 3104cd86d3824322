"""The table of metrics, what is exported, and what the code sets are the same, both ways."""

import ast
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tocsin.metrics.reference import metrics_reference
from tocsin.metrics.registry import Metrics
from tocsin.metrics.table import TABLE, Metric

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "src" / "tocsin"
BY_NAME = {m.name: m for m in TABLE}


def touched() -> Metrics:
    """A registry in which every family has a series."""
    metrics = Metrics()
    for m in TABLE:
        labels = dict.fromkeys(m.labels, "x")
        if m.type == "counter":
            metrics.inc(m.name, 1, **labels)
        elif m.type == "gauge":
            metrics.set(m.name, 1, **labels)
        else:
            metrics.observe(m.name, 1, **labels)
    return metrics


def test_the_exposition_is_the_table() -> None:
    """Every family with its type, help and labels, and no other."""
    exported = {}
    for family in text_string_to_metric_families(touched().exposition().decode()):
        if family.name.endswith("_created"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = set().union(*(s.labels for s in family.samples)) - {"le"}
        exported[name] = (family.type, family.documentation, frozenset(labels))
    assert {m.name: (m.type, m.help, frozenset(m.labels)) for m in TABLE} == exported


def test_the_page_is_the_table() -> None:
    """docs/metrics.md is what `make docs` writes."""
    assert metrics_reference() == (ROOT / "docs" / "metrics.md").read_text()
    for m in TABLE:
        assert 1 == metrics_reference().count(f"| `{m.name}` |")


@pytest.mark.parametrize("metric", TABLE, ids=lambda m: m.name)
def test_a_metric_is_named_and_bounded_as_its_kind_asks(metric: Metric) -> None:
    assert (metric.type == "counter") == metric.name.endswith("_total")
    assert metric.name.startswith("tocsin_")
    assert metric.help.endswith(".")
    assert bool(metric.labels) == (metric.bound != "1") or metric.name == "tocsin_build_info"
    if metric.buckets:
        assert "histogram" == metric.type
        assert list(metric.buckets) == sorted(set(metric.buckets))


def uses() -> list[tuple[str, str, str, frozenset[str] | None]]:
    """(place, method, metric, labels or None where they are computed) of every call on a registry."""
    found = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            name = node.args[0]
            if not (
                isinstance(name, ast.Constant) and isinstance(name.value, str) and name.value.startswith("tocsin_")
            ):
                continue
            keywords = [k.arg for k in node.keywords]
            labels = None if None in keywords else frozenset(k for k in keywords if k and k not in ("by", "value"))
            found.append((f"{path.relative_to(SOURCE)}:{node.lineno}", node.func.attr, name.value, labels))
    return found


def test_every_use_is_of_a_known_metric_of_that_type_with_its_labels() -> None:
    """A wrong label or name would raise only when that line runs."""
    methods = {"inc": "counter", "set": "gauge", "clear": "gauge", "observe": "histogram"}
    wrong = []
    for place, method, name, labels in uses():
        metric = BY_NAME.get(name)
        if method not in methods:
            continue
        if metric is None or metric.type != methods[method]:
            wrong.append(f"{place}: {method} {name}")
        elif method != "clear" and labels is not None and labels != frozenset(metric.labels):
            wrong.append(f"{place}: {name} has labels {sorted(metric.labels)}, not {sorted(labels)}")
    assert [] == wrong


def test_every_metric_is_set_somewhere() -> None:
    """The table promises nothing that is never counted."""
    text = "\n".join(p.read_text() for p in SOURCE.rglob("*.py") if p.name != "table.py")
    assert [] == [m.name for m in TABLE if f'"{m.name}"' not in text]


def test_an_unknown_name_raises() -> None:
    """A typing error in a name is no silent loss."""
    with pytest.raises(KeyError):
        Metrics().inc("tocsin_nothing_total")
