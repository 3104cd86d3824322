"""Debian's promtool finds nothing wrong with what we export and ship, and our alerting rules use what we export."""

import re
from pathlib import Path
from typing import Any

from tests.conftest import _without
from tests.servers.process import ServerMissing
from tests.servers.prometheus import promtool
from tests.unit.metrics.test_table import touched
from tocsin.metrics.table import TABLE

DEPLOY = Path(__file__).parents[3] / "deploy" / "prometheus"


def checked(*arguments: Any, stdin: str = "") -> str:
    """Run promtool; whatever it says is returned when it ends with 0."""
    try:
        done = promtool(*(str(a) for a in arguments), stdin=stdin)
    except ServerMissing as why:
        _without(why)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_exposition_follows_prometheuss_habits() -> None:
    assert "" == checked("check", "metrics", stdin=touched().exposition().decode())


def test_the_scrape_file_and_the_rules_are_valid() -> None:
    assert "SUCCESS" in checked("check", "config", DEPLOY / "prometheus.yml")
    assert "SUCCESS" in checked("check", "rules", DEPLOY / "tocsin.rules.yml")


def test_the_rules_name_only_metrics_that_exist() -> None:
    known = {m.name for m in TABLE}
    used = set(re.findall(r"tocsin_[a-z_]+", (DEPLOY / "tocsin.rules.yml").read_text()))
    assert used
    assert set() == used - known


def test_the_rules_ring_when_they_should(tmp_path: Path) -> None:
    """A unit test of the rules themselves, by promtool: mails that wait, and rules that lag, but not ones that catch
    up.
    """
    (tmp_path / "test.yml").write_text(f"""
rule_files: [{DEPLOY / "tocsin.rules.yml"}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: tocsin_notify_outbox_age_seconds, values: "0 200 400 500 600 0 0"}}
      - {{series: 'tocsin_evaluate_cursor_lag_commits{{instance="stuck"}}', values: "7x20"}}
      - {{series: 'tocsin_evaluate_cursor_lag_commits{{instance="busy"}}', values: "0 9 0 8 0 5 0 4 0 3 0 2 0 1 0 1 0"}}
    alert_rule_test:
      - {{eval_time: 2m, alertname: TocsinMailsWait, exp_alerts: []}}
      - eval_time: 4m
        alertname: TocsinMailsWait
        exp_alerts:
          - exp_labels: {{severity: critical}}
            exp_annotations:
              summary: "The oldest mail has waited for 10m 0s: the SMTP server refuses or is away"
      - eval_time: 15m
        alertname: TocsinEvaluationLags
        exp_alerts:
          - exp_labels: {{severity: critical, instance: stuck}}
            exp_annotations: {{summary: "Rules do not keep up with what comes in: 7 commits wait"}}
""")  # fmt: skip
    checked("test", "rules", tmp_path / "test.yml")
