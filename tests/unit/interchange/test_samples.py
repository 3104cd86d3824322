"""Every alert rule in the public samples is imported, or it is said precisely why not."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.interchange.helpers import SCHEMA, lost, models, whole_query
from tocsin.interchange.azure.jsonc import load_jsonc, looks_like_json
from tocsin.interchange.azure.scope import Unknown
from tocsin.interchange.azure.write import export_rule, template_of
from tocsin.interchange.emit import file_of
from tocsin.interchange.importing import import_files, import_text
from tocsin.interchange.report import Imported
from tocsin.rules.kinds.registry import rule_model

SAMPLES = Path(os.environ.get("TOCSIN_SAMPLES", Path(__file__).parents[4] / "shared" / "samples"))
PATTERNS = ("arm*", "amba*", "restapispecs-sqr*", "resourcemodules*", "aksbaseline*", "prometheus-*", "awesomeprom*")
LABELS = {"_deployed_by_amba": "true"}
NO_TABLE = r"the query does not run here: line \d+, column \d+: (there (is no table|are no tables) '{}'|{}\(\) is not supported).*"

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples are not in this checkout's neighbourhood")


def of(name: str, **parameters: Any) -> list[Imported]:
    path = SAMPLES / name
    return list(import_text(path.read_text(encoding="utf-8"), name, SCHEMA, parameters=parameters))


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


def sources(value: Any) -> Iterator[str]:
    """Every text of a JSON file."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from sources(item)
    elif isinstance(value, list):
        for item in value:
            yield from sources(item)


# file -> name, every key but name, description and query; the table that is not here; the lines after the query
WINDOW = {"over": "15m", "every": "5m", "value": "value", "labels": LABELS}
AZURE: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "aksbaseline-arm-cluster-stamp-2018-04-16.jsonc": (
        "PodFailedScheduledQuery",
        {"over": "10m", "every": "5m", "value": "value", "severity": "informational", "send_resolved": False,
         "repeat_every": "5m"},
        "",
        "\n| where AggregatedValue > 3\n| summarize value = count()\n| where value > 2",
    ),
    "amba-arm-compute-virtualmachines-availablememorypercentage.jsonc": (
        "", WINDOW | {"by": ["Computer", "_ResourceId"], "severity": "warning"}, "InsightsMetrics",
        "\n| summarize value = avg(AggregatedValue) by Computer, _ResourceId\n| where value < 10",
    ),
    "amba-arm-compute-virtualmachines-datadiskreadlatencyms.jsonc": (
        "", WINDOW | {"by": ["Computer", "Disk", "_ResourceId"], "severity": "warning"}, "InsightsMetrics",
        "\n| summarize value = avg(AggregatedValue) by Computer, Disk, _ResourceId\n| where value > 25",
    ),
    "amba-arm-compute-virtualmachines-heartbeat.jsonc": (
        "", WINDOW | {"by": ["Computer", "_ResourceId"], "severity": "error"}, "Heartbeat",
        "\n| summarize value = avg(AggregatedValue) by Computer, _ResourceId\n| where value > 10",
    ),
    "amba-arm-compute-virtualmachines-networkreadbytessec.jsonc": (
        "", WINDOW | {"by": ["Computer", "NetworkInterface", "_ResourceId"], "severity": "warning"}, "InsightsMetrics",
        "\n| summarize value = avg(AggregatedValue) by Computer, NetworkInterface, _ResourceId\n| where value > 10000000",
    ),
    "amba-arm-desktopvirtualization-hostpools-fslogixdiskalreadyinusexhostpoolnamex.jsonc": (
        "",
        {"over": "1d", "every": "5m", "labels": LABELS, "severity": "warning",
         "by": ["ComputerName", "RenderedDescription", "VMresourceGroup", "HostPool"]},
        "Event", "",
    ),
    "amba-arm-hybridcompute-machines-hybridmachineavailablememorypercentage.jsonc": (
        "", WINDOW | {"by": ["Computer", "_ResourceId"], "severity": "warning"}, "InsightsMetrics",
        "\n| summarize value = avg(AggregatedValue) by Computer, _ResourceId\n| where value < 10",
    ),
    "amba-arm-hybridcompute-machines-hybridmachinedatadiskfreespacepercentagealert.jsonc": (
        "", WINDOW | {"by": ["Computer", "Disk", "_ResourceId"], "severity": "warning"}, "InsightsMetrics",
        "\n| summarize value = avg(AggregatedValue) by Computer, Disk, _ResourceId\n| where value < 10",
    ),
    "amba-arm-hybridcompute-machines-hybridmachinedatadiskwritelatencyalert.jsonc": (
        "", WINDOW | {"by": ["Computer", "Disk", "_ResourceId"], "severity": "warning"}, "InsightsMetrics",
        "\n| summarize value = avg(AggregatedValue) by Computer, Disk, _ResourceId\n| where value > 25",
    ),
    "amba-policy-deploy-appinsightsthrottlinglimit-alert.json": (
        "ApplicationInsightsThrottlingLimitReachedAlert",
        {"over": "1d", "every": "1h", "by": ["name", "_ResourceId"], "severity": "warning", "labels": LABELS,
         "summary": "Application Insights Throttling Limit Reached"},
        "", "",
    ),
    "amba-policy-deploy-hybrid-vm-disconnected-alert.json": (
        "HybridVMDisconnectedAlert",
        {"over": "1d", "every": "10m", "by": ["Computer", "id"], "severity": "error", "labels": LABELS}, "arg", "",
    ),
    "amba-policy-deploy-vm-heartbeat-alert.json": (
        "VMHeartBeatAlert",
        {"over": "6h", "every": "5m", "by": ["Computer", "_ResourceId"], "severity": "error", "labels": LABELS},
        "arg", "",
    ),
    "restapispecs-sqr-2018-04-16-alertingaction.json": (
        "",
        {"over": "15m", "every": "15m", "by": ["Computer"], "value": "value", "severity": "error",
         "summary": "Email Header", "send_resolved": False, "repeat_every": "15m"},
        "Heartbeat",
        "\n| where AggregatedValue > 3\n| summarize value = count() by Computer\n| where value > 5",
    ),
    "restapispecs-sqr-2021-08-01-heartbeat.json": (
        "heartbeat",
        {"over": "10m", "every": "5m", "value": "value", "severity": "verbose",
         "annotations": {"key11": "value11", "key12": "value12"}},
        "Heartbeat", "\n| summarize value = count()\n| where value > 360",
    ),
}  # fmt: skip
METRICS = {
    "Node CPU utilization high": "cpuUsagePercentage of Insights.Container/nodes",
    "Node working set memory utilization high": "memoryWorkingSetPercentage of Insights.Container/nodes",
    "Jobs completed more than 6 hours ago": "completedJobsCount of Insights.Container/pods",
    "Container CPU usage high": "cpuExceededPercentage of Insights.Container/containers",
    "Container working set memory usage high": "memoryWorkingSetExceededPercentage of Insights.Container/containers",
    "Pods in failed state": "podCount of Insights.Container/pods",
    "Disk usage high": "DiskUsedPercentage of Insights.Container/nodes",
    "Nodes in not ready status": "nodesCount of Insights.Container/nodes",
    "Containers getting OOM killed": "oomKilledContainerCount of Insights.Container/pods",
    "Persistent volume usage high": "pvUsageExceededPercentage of Insights.Container/persistentvolumes",
    "Pods not in ready state": "PodReadyPercentage of Insights.Container/pods",
    "Restarting container count": "restartingContainerCount of Insights.Container/pods",
}


@pytest.mark.parametrize("file", sorted(AZURE))
def test_a_query_rule_of_azure_is_imported(file: str) -> None:
    name, keys, missing, after = AZURE[file]
    [found] = [r for r in of(file) if r.rule is not None]
    assert found.rule is not None
    rule = dict(found.rule)
    query, description = whole_query(rule), rule.pop("description")
    del rule["query"]
    rule.pop("condition", None)
    assert {"name": name or Path(file).name.split(".")[0], "enabled": False, **keys} == rule
    assert description in set(sources(load_jsonc((SAMPLES / file).read_text(), file)))
    assert query.endswith(after)
    reason = NO_TABLE.format(missing, missing) if missing else r"the query holds \$\{…\}, which is yours to fill in: .*"
    assert re.fullmatch(reason, found.off, re.DOTALL), found.off


@pytest.mark.parametrize("file", sorted(f for f in AZURE if f.startswith(("amba-arm", "restapi"))))
def test_a_query_stays_what_it_was(file: str) -> None:
    """Line breaks apart, the query is the source's own, with the condition after it."""
    [found] = of(file)
    assert found.rule is not None
    after = AZURE[file][3]
    query = squeezed(whole_query(found.rule).removesuffix(after))
    assert query in {squeezed(text) for text in sources(load_jsonc((SAMPLES / file).read_text(), file))}


def test_what_azure_alone_knows_stays_visible_in_a_query() -> None:
    [found] = [r for r in of("aksbaseline-arm-cluster-stamp-2018-04-16.jsonc") if r.rule is not None]
    assert found.rule is not None
    cluster = "aks-${uniqueString('aks', subscription().subscriptionId, resourceGroup().id)}"
    assert f'let clusterName = "{cluster}";' in found.rule["query"]
    assert "uniqueString() is known to Azure only" in found.off


def test_a_policy_gives_its_parameters_to_the_rule() -> None:
    """Those of the assignment, where given, else the policy's own."""
    [plain] = of("amba-policy-deploy-vm-heartbeat-alert.json")
    [given] = of("amba-policy-deploy-vm-heartbeat-alert.json", severity="3", threshold="42", windowSize="PT30M")
    assert plain.rule is not None and given.rule is not None
    assert 'let policyThresholdString = "10";' in plain.rule["query"]
    assert '!in~ ("true","Test","Dev","Sandbox")' in plain.rule["query"]
    assert 'let policyThresholdString = "42";' in given.rule["query"]
    assert ("informational", "30m") == (given.rule["severity"], given.rule["over"])
    assert {"timeToResolve": "'true' is no duration"}.items() <= lost(plain).items()


def test_what_watches_no_query_says_so() -> None:
    left = {r.name: r for r in of("aksbaseline-arm-cluster-stamp-2018-04-16.jsonc") if r.rule is None}
    activity = left.pop("AllAzureAdvisorAlert")
    assert activity.why_not == (
        "it watches Azure's activity log (category Recommendation, operationName "
        "Microsoft.Advisor/recommendations/available/action), of which tocsin gets no events; leave it in Azure"
    )
    why = "it watches a metric of an Azure resource ({}), and tocsin gets events, not metrics; leave it in Azure"
    assert {k: why.format(m) for k, m in METRICS.items()} == {
        name.partition(" for aks-")[0]: r.why_not for name, r in left.items()
    }


def test_the_metric_of_failed_runs_says_what_to_write_instead() -> None:
    [found] = of("amba-arm-aml-workspace-failedruns-metricalert.json")
    assert found.rule is None
    assert found.why_not == (
        "it watches a metric of an Azure resource (Failed Runs), and tocsin gets events, not metrics; for each such run "
        "write when: {status: Failed}, or count them by a query with over:"
    )


def test_a_module_needs_its_parameters() -> None:
    """A template that is all parameters says which one is missing; given them, it is imported."""
    file = "resourcemodules-arm-scheduledqueryrules-deploy.json"
    [empty] = of(file)
    assert "the query is empty; where it is a parameter, give it with --parameters" == empty.why_not
    [given] = of(
        file, alertName="failed-runs", query="AmlRunStatusChangedEvent | where Status == 'Failed'", severity=1,
        metricResultCountThreshold=4, suppressForMinutes=30, actions=["/x/actionGroups/ml"], tags={"team": "ranking"},
    )  # fmt: skip
    assert {
        "name": "failed-runs", "severity": "error", "over": "1h", "every": "5m",
        "query": "AmlRunStatusChangedEvent | where Status == 'Failed'\n| summarize value = count()",
        "condition": "value > 4", "value": "value", "send_resolved": False, "repeat_every": "30m", "labels": {"team": "ranking"},
    } == given.rule  # fmt: skip
    assert "" == given.off
    assert "name receivers for ml: notify: {to: […]}, or in the route" == lost(given)["actionGroups"]


NOT_SCRAPED = "it reads {}, which Prometheus scrapes and tocsin does not get{}; leave it in Prometheus"
ABSENT = " (absent() asks whether Prometheus has the series)"
CONSTANT = "its expression reads no metric, only constants, so it says nothing of runs"
RECORDING = "a recording rule makes a series for Prometheus; it alerts nobody"
PROMTOOL = {
    "InstanceDown": NOT_SCRAPED.format("up", ""),
    "AlwaysFiring": CONSTANT,
    "job:test:count_over_time1m": RECORDING,
    "fixed_data": RECORDING,
    "suquery_interval_test": RECORDING,
}
PROMETHEUS = {
    "prometheus-alert_rule.yaml": {"rule1": CONSTANT},
    "prometheus-promtool-rules.yaml": PROMTOOL,
    "prometheus-promtool-rules-bad.yaml": PROMTOOL,
    "prometheus-rules_multiple_groups.yaml": dict.fromkeys(
        [*(f"job:{p}_requests:rate{m}m" for p in ("http", "grpc") for m in (1, 5, 10, 15)), "TooManyHTTPRequests",
         "TooManyGRPCRequests"], RECORDING),
}  # fmt: skip


@pytest.mark.parametrize("file", sorted(PROMETHEUS))
def test_a_rule_of_prometheus_says_why_it_stays_there(file: str) -> None:
    assert PROMETHEUS[file] == {r.name: r.why_not for r in of(file)}
    assert all(r.rule is None for r in of(file))


@pytest.mark.parametrize(
    ("file", "alerts", "constants"),
    [
        ("awesomeprom-kubernetes-kubestate-exporter.yaml", 37, set()),
        (
            "awesomeprom-prometheus-self-monitoring-embedded-exporter.yaml",
            28,
            {"PrometheusAlertmanagerE2eDeadManSwitch"},
        ),
    ],
)
def test_a_collection_for_prometheus_names_the_metrics_of_each(file: str, alerts: int, constants: set[str]) -> None:
    text = (SAMPLES / file).read_text()
    found = of(file)
    assert alerts == len(re.findall(r"^\s*- alert:", text, re.MULTILINE)) == len(found)
    assert constants == {r.name for r in found if r.why_not == CONSTANT}
    for r in found:
        if r.name in constants:
            continue
        listed = re.fullmatch(
            re.escape(NOT_SCRAPED.format("\0", "\1")).replace("\0", "(.+)").replace("\1", ".*"), r.why_not
        )
        assert listed is not None, r.why_not
        assert r.stub is not None
        for metric in re.split(", | and ", listed[1]):
            assert re.fullmatch(r"\d+ more", metric) or metric in str(r.stub["expr"])
    absent = {r.name for r in found if ABSENT in r.why_not}
    assert absent == {r.name for r in found if r.stub is not None and "absent(" in str(r.stub["expr"])}


def test_the_expression_of_what_stays_is_kept_in_a_comment() -> None:
    text = file_of(of("prometheus-promtool-rules.yaml"))
    assert "#     expr: up == 0\n" in text
    assert all(line.startswith("#") or line in ("", "rules: []") for line in text.splitlines())


def every_sample() -> list[Path]:
    return sorted(p for pattern in PATTERNS for p in SAMPLES.glob(pattern))


def test_every_sample_is_among_the_expected() -> None:
    """A new sample cannot slip past these tests."""
    known = {*AZURE, *PROMETHEUS, "amba-arm-aml-workspace-failedruns-metricalert.json",
             "resourcemodules-arm-scheduledqueryrules-deploy.json", "awesomeprom-kubernetes-kubestate-exporter.yaml",
             "awesomeprom-prometheus-self-monitoring-embedded-exporter.yaml"}  # fmt: skip
    assert known == {p.name for p in every_sample()}


def test_all_of_them_make_one_valid_file() -> None:
    """What is written validates, and reads as what was imported; no resource is silent."""
    rules = import_files(every_sample(), SCHEMA)
    assert [rule_model().model_validate(r.rule) for r in rules if r.rule is not None] == models(rules)
    assert all((r.rule is None) == bool(r.why_not) for r in rules)
    assert len(AZURE) == sum(r.rule is not None for r in rules)
    for path in every_sample():
        text = path.read_text()
        alerting = len(
            re.findall(r'"type": "[^"]*/(?:scheduledQueryRules|metricAlerts|activityLogAlerts)"', text, re.I)
        )
        if looks_like_json(text) and "restapispecs" not in path.name:
            # a policy names the type once more, to ask whether the rule exists
            assert alerting - ("policyRule" in text) == sum(r.file == str(path) for r in rules), path.name


@pytest.mark.parametrize("file", sorted(AZURE))
def test_exported_and_imported_again_it_is_the_same(file: str) -> None:
    [found] = [r for r in of(file) if r.rule is not None]
    assert found.rule is not None
    exported = export_rule(found.rule, SCHEMA)
    assert exported.resource is not None, exported.why_not
    [again] = list(import_text(json.dumps(template_of([exported])), "again.json", SCHEMA))
    assert found.rule == again.rule
    without = {k: v for k, v in template_of([exported]).items() if k != "metadata"}
    [native] = list(import_text(json.dumps(without), "again.json", SCHEMA))
    assert native.rule is not None
    ours = {k: v for k, v in found.rule.items() if k != "summary"}
    assert ours == {k: v for k, v in native.rule.items() if k != "summary"}


def test_nothing_unknown_reaches_a_rule() -> None:
    def clean(value: Any) -> bool:
        if isinstance(value, dict):
            return all(clean(v) for v in value.values())
        return all(clean(v) for v in value) if isinstance(value, list) else not isinstance(value, Unknown)

    assert all(clean(dict(r.rule)) for r in import_files(every_sample(), SCHEMA) if r.rule is not None)
