"""What a set of files says as a whole."""

import json
from pathlib import Path

import pytest

from tocsin.app.project.content import load_content
from tocsin.config.project.home import Home

RULE = {"name": "failed", "when": {"status": "Failed"}, "fields": ["ExperimentName"]}
GROUPED = {"route": {"receiver": "owner", "group_by": ["ExperimentName"]}}
INHIBITED = {"inhibit": [{"source": {"rule": "failed"}, "target": {"severity": "warning"}}]}
SWEPT = {**RULE, "collapse": {"to": "parent", "when": {"failed": "20%"}}}


@pytest.mark.parametrize(
    ("rule", "oncall", "apart"),
    [(RULE, {}, True), (RULE, GROUPED, False), (RULE, INHIBITED, False), (SWEPT, {}, False)],
    ids=["alone", "grouped", "inhibited", "of a sweep"],
)
def test_alerts_may_be_notified_apart_where_none_depends_on_another(
    tmp_path: Path, rule: dict[str, object], oncall: dict[str, object], apart: bool
) -> None:
    """Else the events of a request stay one commit: a group's mail lists all that came together."""
    (tmp_path / "tocsin.yaml").write_text("shipped: {rules: false, oncall: false}\n")
    for folder, file in (("alerts", {"rules": [rule]}), ("oncall", oncall)):
        (tmp_path / f"rules/{folder}").mkdir(parents=True)
        (tmp_path / f"rules/{folder}/mine.yaml").write_text(json.dumps(file))
    assert load_content(Home(tmp_path)).apart is apart
