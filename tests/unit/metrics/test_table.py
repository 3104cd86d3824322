"""The table of metrics, what is exported, and what the code sets are the same, both ways."""

import ast
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from docs.__main__ import metrics_reference
from tocsin.app.engine.known_series import present_channels
from tocsin.metrics.registry import Metrics
from tocsin.metrics.table import SEND_OUTCOMES, TABLE, Metric
from tocsin.notify.channels.base import Outcome

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
    """Every family with its type, help and labels; besides only what prometheus-client says of any Python process."""
    exported = {}
    for family in text_string_to_metric_families(touched().exposition()[0].decode()):
        if family.name.startswith(("process_", "python_")):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = set().union(*(s.labels for s in family.samples)) - {"le"}
        exported[name] = (family.type, family.documentation, frozenset(labels))
    assert {m.name: (m.type, m.help, frozenset(m.labels)) for m in TABLE} == exported


def test_the_page_is_the_table() -> None:
    """docs/metrics.md is what `make docs` writes."""
    assert metrics_reference() == (ROOT / "docs" / "metrics.md").read_text()
    for m in TABLE:
        assert 1 == metrics_reference().count(f"| `{m.name}`")


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


def test_what_any_python_process_shows_is_there() -> None:
    names = {family.name for family in text_string_to_metric_families(Metrics().exposition()[0].decode())}
    assert {"process_resident_memory_bytes", "process_start_time_seconds", "process_open_fds", "python_info"} <= names


def test_series_whose_labels_are_known_exist_with_0() -> None:
    """`increase()` sees the first failure only where there was a 0 before it."""
    registry = Metrics().registry
    for m in TABLE:
        if m.labels and m.known.keys() == set(m.labels):
            suffix = "_count" if m.type == "histogram" else ""
            labels = {label: values[0] for label, values in m.known.items()}
            assert 0 == registry.get_sample_value(m.name + suffix, labels), m.name
    assert 0 == registry.get_sample_value("tocsin_runs_ended_total", {"status": "Failed", "reason": "out_of_memory"})


def test_the_outcomes_of_attempts_are_those_of_channels() -> None:
    assert [outcome.value for outcome in Outcome] == list(SEND_OUTCOMES)


def test_channels_in_use_have_series_with_0() -> None:
    """Mail always; of receivers what they have."""
    metrics = Metrics()
    present_channels(metrics, {"ops": {"slack": {}}, "desk": {"slack": {}, "ntfy": {}}})
    text = metrics.exposition()[0].decode()
    for channel in ("email", "ntfy", "slack"):
        assert f'tocsin_notifications_total{{channel="{channel}"}} 0.0' in text
        assert f'tocsin_notifications_failed_total{{channel="{channel}",reason="refused"}} 0.0' in text


def test_the_labels_of_runs_come_only_where_they_are_asked_for() -> None:
    metrics = Metrics(("experiment",))
    metrics.inc("tocsin_runs_ended_total", status="Failed", reason="", experiment="churn")
    assert 'experiment="churn"' in metrics.exposition()[0].decode()
    assert "experiment=" not in Metrics().exposition()[0].decode()


def test_openmetrics_comes_where_it_is_asked_for() -> None:
    text, content_type = Metrics().exposition("application/openmetrics-text; version=1.0.0, text/plain;q=0.5")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert text.endswith(b"# EOF\n")
    assert b"_created" not in text
    assert Metrics().exposition("*/*")[1].startswith("text/plain; version=0.0.4")


def test_the_series_of_a_label_can_be_forgotten() -> None:
    metrics = Metrics()
    for rule in ("a", "b"):
        metrics.present("tocsin_alerts_fired_total", rule=[rule], severity=["error", "warning"])
    metrics.forget("tocsin_alerts_fired_total", rule="a")
    left = [s.labels for f in metrics.registry.collect() for s in f.samples if s.name == "tocsin_alerts_fired_total"]
    assert [{"rule": "b", "severity": "error"}, {"rule": "b", "severity": "warning"}] == left


def test_an_unknown_name_raises() -> None:
    """A typing error in a name is no silent loss."""
    with pytest.raises(KeyError):
        Metrics().inc("tocsin_nothing_total")
