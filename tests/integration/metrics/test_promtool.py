"""Debian's promtool finds nothing wrong with what we export and ship, and our alerting rules use what we export."""

import re
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from tests.conftest import _without
from tests.servers.process import ServerMissing
from tests.servers.prometheus import promtool
from tests.unit.metrics.test_table import touched
from tocsin.metrics.table import TABLE

DEPLOY = Path(__file__).parents[3] / "deploy" / "prometheus"
RULES = (DEPLOY / "tocsin.rules.yml", DEPLOY / "tocsin.slo.rules.yml")
TESTS = DEPLOY / "tocsin.rules.test.yml"


def checked(*arguments: Any, stdin: str = "") -> str:
    """Run promtool; whatever it says is returned when it ends with 0."""
    try:
        done = promtool(*(str(a) for a in arguments), stdin=stdin)
    except ServerMissing as why:
        _without(why)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_exposition_follows_prometheuss_habits() -> None:
    assert "" == checked("check", "metrics", stdin=touched().exposition()[0].decode())


def test_the_scrape_files_and_the_rules_are_valid() -> None:
    assert "SUCCESS" in checked("check", "config", DEPLOY / "prometheus.yml")
    assert "SUCCESS" in checked("check", "config", "--syntax-only", DEPLOY / "discovery.yml")
    for rules in RULES:
        assert "SUCCESS" in checked("check", "rules", rules)


def test_the_rules_name_only_metrics_that_exist() -> None:
    known = {m.name for m in TABLE}
    for rules in RULES:
        used = set(re.findall(r"\btocsin_[a-z_]+", rules.read_text()))
        assert used
        assert set() == {re.sub(r"_(bucket|count|sum)$", "", name) for name in used} - known


def test_the_rules_fire_when_they_should() -> None:
    """Their unit tests, by promtool."""
    assert "SUCCESS" in checked("test", "rules", TESTS)


def test_every_alert_has_a_test_that_it_fires() -> None:
    alerts = {
        rule["alert"]
        for rules in RULES
        for group in yaml.safe_load(rules.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    fires = {
        case["alertname"]
        for test in yaml.safe_load(TESTS.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }
    assert alerts == fires


def test_a_rule_that_misses_the_first_failure_is_found(tmp_path: Path) -> None:
    """The unit tests see it where a new series does not start at 0."""
    for rules in RULES:
        text = re.sub(r" or \(.* unless .*\)", "", rules.read_text())
        (tmp_path / rules.name).write_text(text)
    (tmp_path / TESTS.name).write_text(TESTS.read_text())
    done = promtool("test", "rules", str(tmp_path / TESTS.name))
    assert 0 != done.returncode
    assert "TocsinRuleErrors" in done.stdout + done.stderr
