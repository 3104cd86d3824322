"""Prometheus's alerts: what counts rows of ours becomes a query, everything else says why it stays."""

import pytest

from tests.unit.interchange.helpers import SCHEMA, lost, models, one, whole_query
from tocsin.errors import ConfigurationError
from tocsin.interchange.emit import file_of
from tocsin.interchange.importing import import_text
from tocsin.interchange.prometheus.promql import metrics_of
from tocsin.interchange.report import Imported
from tocsin.metrics.table import TABLE

FILE = """
groups:
  - name: runs
    interval: 30s
    rules:
      - alert: ManyFailures
        expr: sum by (status) (increase(tocsin_runs_status_changes_total{status=~"Failed|NotResponding", job="tocsin"}[1h])) > 5
        for: 5m
        keep_firing_for: 1h30m
        labels: {severity: page, team: ranking}
        annotations:
          summary: "{{ $labels.status }}: {{ $value | humanize }} runs"
          runbook_url: https://wiki.example.org/failures
          hint: "{{ with query \\"up\\" }}x{{ end }}"
"""


def prometheus(text: str) -> list[Imported]:
    return list(import_text(text, "rules.yaml", SCHEMA))


def alert(expr: str) -> Imported:
    [found] = prometheus(f"groups: [{{name: g, rules: [{{alert: A, expr: '{expr}'}}]}}]")
    return found


def test_a_whole_alert() -> None:
    [found] = prometheus(FILE)
    assert {
        "name": "ManyFailures", "over": "1h", "every": "30s", "value": "value", "by": ["Status"],
        "query": "RunStatusChanged\n| where Status in ('Failed', 'NotResponding')\n| summarize value = count() by Status"
                 "",
        "condition": "value > 5", "for": "5m", "keep_firing_for": "1h30m", "severity": "critical", "labels": {"team": "ranking"},
        "summary": "{{ Status }}: {{ value }} runs", "runbook": "https://wiki.example.org/failures",
        "annotations": {"hint": "{{ '{{' }} with query \"up\" }}x{{ '{{' }} end }}"},
    } == found.rule  # fmt: skip
    assert ("", {"annotations.hint"}) == (found.off, set(lost(found)))
    assert "ManyFailures" == models([found])[0].name


@pytest.mark.parametrize(
    ("expr", "query", "over"),
    [
        ('increase(tocsin_runs_status_changes_total{status="Failed"}[1d]) == 0',
         "RunStatusChanged\n| where Status == 'Failed'\n| summarize value = count()\n| where value == 0", "1d"),
        ("sum(rate(tocsin_runs_status_changes_total[5m])) >= 0.5",
         "RunStatusChanged\n| summarize value = count()\n| where value >= 150", "5m"),
        ('(increase(tocsin_runs_status_changes_total{status!="Failed"}[1h30m]) < 1e3)',
         "RunStatusChanged\n| where Status != 'Failed'\n| summarize value = count() by Status\n| where value < 1000",
         "1h30m"),
        ('100 * sum(rate(tocsin_runs_status_changes_total{status="Failed"}[10m])) / 2 > 5',
         "RunStatusChanged\n| where Status == 'Failed'\n| summarize value = count()\n| where value > 60", "10m"),
        ('100 * (sum(increase(tocsin_runs_status_changes_total{status="Failed"}[1h]))'
         ' / sum(increase(tocsin_runs_status_changes_total{status=~"Failed|Completed"}[1h]))) > 20',
         "RunStatusChanged\n| summarize part = countif(Status == 'Failed'), whole = countif(Status in ('Failed', 'Completed'))\n"
         "| where whole > 0\n| extend value = todouble(part) / whole\n| where value > 0.2", "1h"),
    ],
)  # fmt: skip
def test_counts_of_status_changes_are_queries(expr: str, query: str, over: str) -> None:
    found = alert(expr)
    assert found.rule is not None, found.why_not
    assert (query, over) == (whole_query(found.rule), found.rule["over"])


NO_QUERY = (
    "of tocsin_runs_status_changes_total, only increase() or rate() over a range, a ratio of two in sum(), times or over a "
    "number, against a number is a query"
)


@pytest.mark.parametrize(
    ("expr", "why"),
    [
        ("up == 0", "it reads up, which Prometheus scrapes and tocsin does not get; leave it in Prometheus"),
        ("vector(1)", "its expression reads no metric, only constants, so it says nothing of runs"),
        ("absent(tocsin_build_info)",
         "it asks whether Prometheus has tocsin_build_info, tocsin's own: when tocsin is gone, only Prometheus can say"),
        ("tocsin_notify_outbox_mails > 100",
         "it reads tocsin_notify_outbox_mails, tocsin's own figure of the pipeline, of which no table has the rows; leave "
         "it in Prometheus"),
        ("tocsin_runs_status_changes_total > 100", NO_QUERY),
        ("increase(tocsin_runs_status_changes_total[1h]) / increase(tocsin_runs_status_changes_total[1h]) > 1", NO_QUERY),
        ("sum(increase(tocsin_runs_status_changes_total[1h])) * 0 > 1", NO_QUERY),
        ("sum(up > 1", "its expression is invalid: '(' is not closed"),
        ("up[5m}) == 0", "its expression is invalid: '}' closes no bracket"),
        ("up == == 0", "its expression is invalid: '==' and '==' stand side by side"),
        ('increase(tocsin_runs_status_changes_total{stat="x"}[1h]) > 1', "its metric has no label stat"),
        ('increase(tocsin_runs_status_changes_total{status=~"F.*"}[1h]) > 1',
         'its matcher status=~"F.*" is no list of plain words'),
        ("sum by (user) (increase(tocsin_runs_status_changes_total[1h])) > 1",
         "tocsin_runs_status_changes_total has no label user"),
        ("increase(tocsin_runs_status_changes_total[1h]) != 1", "a threshold with != is not mapped"),
        ("increase(tocsin_runs_status_changes_total[1x]) > 1", "[1x] is no range"),
    ],
)  # fmt: skip
def test_what_is_no_query_says_why(expr: str, why: str) -> None:
    found = alert(expr)
    assert found.rule is None
    assert why == found.why_not
    assert expr in file_of([found])


@pytest.mark.parametrize("metric", [m.name for m in TABLE])
def test_each_metric_of_ours_is_known_as_ours(metric: str) -> None:
    found = alert(f"sum({metric}) > 1")
    assert "which Prometheus scrapes" not in found.why_not


@pytest.mark.parametrize(
    ("expr", "metrics"),
    [
        ('sum by (job, le) (rate(a:b_total{x="y z"}[5m])) / on(job) group_left(v) c > bool 1', ["a:b_total", "c"]),
        ("up offset 5m # not this\n and on() vector(time())", ["up"]),
        ('{__name__=~"node_.*", job="x"}', ['{__name__=~"node_.*", job="x"}']),
        ("histogram_quantile(0.9, sum(rate(h_bucket[5m])) by (le))", ["h_bucket"]),
        ("1e3 > Inf", []),
    ],
)
def test_which_metrics_an_expression_reads(expr: str, metrics: list[str]) -> None:
    assert metrics == metrics_of(expr)


def test_a_prometheusrule_object_and_several_documents() -> None:
    crd = "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nspec:\n  groups:\n  - name: g\n    rules:\n"
    rule = "    - {alert: A, expr: up == 0}\n"
    found = prometheus(f"---\n{crd}{rule}---\n{crd}{rule}")
    assert ["spec.groups[0].rules[0]"] * 2 == [r.path for r in found]


def test_azures_managed_prometheus_rules() -> None:
    found = one({
        "type": "Microsoft.AlertsManagement/prometheusRuleGroups", "apiVersion": "2023-03-01", "name": "g",
        "properties": {"interval": "PT1M", "rules": [{
            "alert": "Many", "expression": 'increase(tocsin_runs_status_changes_total{status="Failed"}[1h]) > 5',
            "for": "PT5M", "severity": 1, "enabled": False,
            "resolveConfiguration": {"autoResolved": True, "timeToResolve": "PT10M"},
        }]},
    })  # fmt: skip
    assert found.rule is not None
    assert {
        "name": "Many",
        "enabled": False,
        "severity": "error",
        "every": "1m",
        "for": "5m",
        "keep_firing_for": "10m",
    } == {k: v for k, v in found.rule.items() if k not in ("query", "condition", "over", "value")}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("route: {receiver: x}", "has no alert rule in it"),
        ("a: [", "not valid YAML"),
        ("just text", "has no alert rule in it"),
        ("param x string\nresource r 'Microsoft.Insights/scheduledQueryRules@2021-08-01' = {}", "is Bicep"),
    ],
)
def test_a_file_without_rules_says_so(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        prometheus(text)
