"""The dashboards are what `make docs` makes, and each of their queries returns data from a real Prometheus that scraped a
real, busy tocsin. Grafana itself does not run here: its JSON is held to the fields that a file provider needs.
"""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from deploy.grafana.boards import BOARDS
from deploy.grafana.draw import DASHBOARDS, document
from deploy.grafana.panels import Board, Panel
from tests.acceptance.harness import Tocsin
from tests.conftest import _without
from tests.integration.commands import PROGRAM, Here
from tests.integration.lived import event
from tests.servers.eventually import eventually
from tests.servers.kafka import KafkaServer
from tests.servers.process import ServerMissing
from tests.servers.prometheus import PrometheusServer
from tocsin.metrics.table import TABLE

PROVISIONING = DASHBOARDS.parent / "provisioning"
HEALTHY = {
    "Closed connections",
    "Rules that cannot be evaluated",
}
"""Panels that are empty even where tocsin is busy; they show 0 then."""
RULES = """\
rules:
  - name: run-failed
    when: {status: Failed, final: true}
    summary: "{{ ExperimentName }} failed"
    severity: error
    notify: {to: [ops@example.org], only: true}
  - name: many-failures
    over: 10m
    query: RunStatusChanged | summarize n = countif(Status == 'Failed') by ExperimentName
    condition: n >= 1
    by: [ExperimentName]
    value: n
    severity: warning
    notify: {to: [ops@example.org], only: true}
  - name: serving-failed
    when: {status: Failed, where: "ExperimentName == 'serving'"}
    severity: critical
"""
ONCALL = """\
people:
  - {name: anna, email: anna@example.org}
receivers:
  - {name: leads, email: leads@example.org}
  - {name: owner, email: leads@example.org}
  - {name: on-call, schedule: primary}
schedules:
  - {name: primary, timezone: UTC, rotation: {members: anna}}
  - {name: days, timezone: UTC, layers: [{name: day, hours: "01:00-23:00", rotation: {members: anna}}]}
route:
  receiver: leads
  routes: [{match: {severity: ">= critical"}, escalation: page}]
escalations:
  - {name: page, steps: [{notify: on-call}, {after: 1s, notify: leads}]}
"""


def all_panels() -> list[tuple[Board, Panel]]:
    return [(board, panel) for board in BOARDS for section in board.sections for panel in section.panels]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory, kafka_session: KafkaServer) -> Iterator[PrometheusServer]:
    """A Prometheus that has scraped a tocsin before and after it became busy."""
    home = tmp_path_factory.mktemp("busy") / "home"
    home.mkdir()
    topic = kafka_session.start().new_topic()
    tocsin = Here(program=PROGRAM, home=home)
    servers = json.dumps([f"127.0.0.1:{kafka_session.port}"])
    tocsin.write(
        "tocsin.yaml",
        f"metrics: {{run_labels: [experiment]}}\nshipped: {{rules: false}}\nkafka: {{bootstrap_servers: {servers}}}\n",
    )
    tocsin.write("rules/alerts/ours.yaml", RULES)
    tocsin.write("rules/oncall/ours.yaml", ONCALL)
    tocsin.write("consumers/ours.yaml", f"connector: kafka\nkafka: {{topics: [{topic}]}}\ncanonical: true\n")
    tocsin.start()
    target = f"127.0.0.1:{tocsin.port}"
    config = f"""
global: {{scrape_interval: 500ms}}
scrape_configs:
  - job_name: tocsin
    static_configs: [{{targets: ["{target}"]}}]
"""
    try:
        prometheus = PrometheusServer(tmp_path_factory.mktemp("prometheus"), config).start()
    except ServerMissing as why:
        tocsin.kill()
        _without(why)
    try:
        eventually(lambda: (prometheus.value("count_over_time(up[1m])") or 0) >= 2, within=30)
        make_busy(prometheus, tocsin, kafka_session, topic)
        yield prometheus
    finally:
        prometheus.stop()
        tocsin.kill()


def make_busy(prometheus: PrometheusServer, tocsin: Tocsin, kafka: KafkaServer, topic: str) -> None:
    """Runs that fail and succeed, by HTTP and Kafka; dead letters, unknown statuses, refused requests, mails."""
    first = [
        event("1", RunId="r1", Status="Queued", ExperimentName="churn"),
        event("2", RunId="r1", Status="Running", ExperimentName="churn"),
    ]
    assert 202 == tocsin.send(json.dumps(first).encode()).status
    of_churn = 'tocsin_runs_ended_total{experiment="churn",reason="out_of_memory",status="Failed"}'
    eventually(lambda: prometheus.query(of_churn), within=30)
    events = [
        event("3", RunId="r1", Status="Failed", ExperimentName="churn", Reason="out_of_memory"),
        event("4", RunId="r2", Status="Running", ExperimentName="fraud"),
        event("5", RunId="r2", Status="Completed", ExperimentName="fraud", DurationMs=61_000),
        event("6", RunId="r3", Status="Sideways"),
        event("7", Status="Failed"),
        event("8", RunId="r4", Status="Running"),
        event("9", RunId="r6", Status="Failed", ExperimentName="serving"),
    ]
    assert 202 == tocsin.send(json.dumps(events).encode()).status
    assert 400 == tocsin.send(b"no json").status
    kafka.produce(topic, [json.dumps(event("10", RunId="r5", Status="Failed", ExperimentName="churn")).encode()])
    eventually(lambda: tocsin.metrics().get('tocsin_notify_mails_total{state="sent"}', 0) >= 2, within=30)
    eventually(lambda: (prometheus.value(of_churn) or 0) >= 1, within=30)
    eventually(
        lambda: tocsin.metrics().get('tocsin_escalation_steps_total{escalation="page",step="2"}', 0) >= 1, within=30
    )
    found = json.loads(tocsin.run("alerts", "list", "--open", "--json").stdout)
    (paged,) = [alert["AlertId"] for alert in found if alert["Rule"] == "serving-failed"]
    assert 0 == tocsin.run("alerts", "ack", paged, "--by", "anna").returncode
    eventually(lambda: (prometheus.value("tocsin_alerts_acknowledged_total") or 0) >= 1, within=30)


def asked(expr: str) -> str:
    """A query as Grafana sends it."""
    for name, value in {"$instance": ".*", "$__rate_interval": "10m", "$__range": "10m"}.items():
        expr = expr.replace(name, value)
    assert "$" not in expr.replace("$$", ""), expr
    return expr


@pytest.mark.parametrize(("board", "panel"), all_panels(), ids=lambda each: getattr(each, "title", ""))
def test_a_panel_shows_data(scraped: PrometheusServer, board: Board, panel: Panel) -> None:
    """Every query of every panel, without the 0 that stands in for nothing."""
    for query in panel.queries:
        if panel.title in HEALTHY:
            assert panel.zero
            assert [({}, 0.0)] == scraped.query(asked(f"{query.expr} or on() vector(0)"))
            continue
        found = eventually(partial(scraped.query, asked(query.expr)), within=20, every=0.2)
        assert all(value == value for _, value in found) or panel.unit == "s", found
        used = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
        assert all(used <= labels.keys() | {"experiment", "reason", "instance"} for labels, _ in found), found


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_a_dashboard_is_what_is_written(board: Board) -> None:
    """`make docs` writes it; a file provider needs a fixed uid, no id, no inputs, and a data source by variable."""
    text = (DASHBOARDS / f"{board.uid}.json").read_text()
    assert document(board) == text
    made: dict[str, Any] = json.loads(text)
    assert (board.uid, None) == (made["uid"], made["id"])
    assert "__inputs" not in made
    assert ["datasource", "instance"] == [variable["name"] for variable in made["templating"]["list"]]
    panels = made["panels"]
    assert len(panels) == len({panel["id"] for panel in panels})
    for panel in panels:
        if panel["type"] == "row":
            continue
        assert {"${datasource}"} == {panel["datasource"]["uid"], *(t["datasource"]["uid"] for t in panel["targets"])}
        assert panel["title"] and panel["description"].endswith((".", ".yaml."))
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_panels_name_only_metrics_that_exist() -> None:
    known = {m.name for m in TABLE} | {"process_resident_memory_bytes", "process_cpu_seconds_total"}
    known |= {"process_open_fds", "process_max_fds"}
    for _, panel in all_panels():
        for query in panel.queries:
            for name in re.findall(r"\b((?:tocsin|process)_[a-z_]+)\{", query.expr):
                assert name in known or re.sub(r"_(bucket|sum|count)$", "", name) in known, name


def test_provisioning_finds_the_dashboards() -> None:
    """The provider's folder is the one that deploy/compose mounts, and the data source has the uid that never changes."""
    providers = yaml.safe_load((PROVISIONING / "dashboards/tocsin.yml").read_text())["providers"]
    assert [("file", "/etc/grafana/dashboards/tocsin")] == [(p["type"], p["options"]["path"]) for p in providers]
    sources = yaml.safe_load((PROVISIONING / "datasources/tocsin.yml").read_text())["datasources"]
    assert ["prometheus"] == [source["type"] for source in sources]
    assert {f"{board.uid}.json" for board in BOARDS} == {path.name for path in Path(DASHBOARDS).glob("*.json")}
