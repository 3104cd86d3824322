"""Rules come, change, are renamed and go: SEMANTICS.md, "Reload" and "What is expired"."""

from collections.abc import Callable

from tests.unit.rules.conftest import Engine, Load
from tocsin.model.instants import TimerKind
from tocsin.rules.driver.lifecycle import reconcile
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.state.interface import Outcome, RuleRecord

Make = Callable[..., Engine]
ONE = "rules: [{name: a, when: {status: Failed}}]"
CHANGED = "rules: [{name: a, when: {status: [Failed, Canceled]}}]"


def test_a_new_rule_starts_at_the_head(load: Load) -> None:
    rules = load(ONE)
    record = RuleRecord(name="a", meaning=rules.rules["a"].meaning, start_seq=7)
    assert Outcome(rules=(record,)) == reconcile(rules, {}, 7)


def test_nothing_changes_where_nothing_changed(load: Load) -> None:
    """Presentation is none of its meaning."""
    first = load(ONE)
    known = {"a": RuleRecord(name="a", meaning=first.rules["a"].meaning, start_seq=3)}
    cosmetic = load("rules: [{name: a, when: {status: Failed}, severity: critical, fields: Url, notify: {to: x}}]")
    assert Outcome() == reconcile(first, known, 9) == reconcile(cosmetic, known, 9)


def test_a_changed_rule_goes_on_where_it_was(engine: Make, load: Load) -> None:
    """What it notified stays notified; what it passed over before the change is not notified; what was not evaluated
    yet is.
    """
    e = engine(ONE)
    e.come({"RunId": "notified"}, {"RunId": "passed", "Status": "Canceled"})
    e.store({"RunId": "waiting", "Status": "Canceled"})
    e.use(load(CHANGED))
    e.evaluate()
    assert 2 == e.at("1m").come({"RunId": "notified"})
    assert ["notified", "waiting"] == [i.run_id for i in e.notified()]


def test_renamed_from_keeps_what_the_former_name_notified(engine: Make, load: Load) -> None:
    """Also its deadlines; and `renamed_from:` may stay in the file."""
    final = "rules: [{{name: {}, renamed_from: '{}', when: {{status: Failed, final: true}}}}]"
    e = engine(final.format("old", ""))
    e.come({"RunId": "r1"}, {"RunId": "r2", "WillRetry": None})
    for _ in range(2):
        e.use(load(final.format("new", "old")))
    assert ["new"] == list(e.state.rules())
    assert 1 == e.at("1m").come({"RunId": "r1"})
    e.at("15m").tick()
    assert [("old", "r1"), ("new", "r2")] == [(i.rule, i.run_id) for i in e.notified()]


def test_a_removed_or_disabled_rule_is_forgotten(engine: Make, load: Load) -> None:
    """It comes back as a new one, and notifies nothing twice."""
    for away in ("rules: []", "rules: [{name: a, enabled: false, when: {status: Failed}}]"):
        e = engine(ONE)
        e.come({"RunId": "r1"})
        e.use(load(away))
        assert {} == e.state.rules()
        e.at("1m").come({"RunId": "r2"})
        e.use(load(ONE))
        assert 1 == e.at("2m").come({"RunId": "r1"}, {"RunId": "r2"})
        assert 2 == e.at("3m").come({"RunId": "r3"})


def test_a_lagging_rule_whose_meaning_changed_is_tried_at_once(load: Load) -> None:
    from tests.unit.rules.conftest import NOON
    from tocsin.model.instants import Instant

    cursor = Instant(at=NOON, timer=False, commit_seq=4)
    outcome = reconcile(load(ONE), {"a": RuleRecord(name="a", meaning="other", start_seq=3, cursor=cursor)}, 9)
    assert (3, cursor) == (outcome.rules[0].start_seq, outcome.rules[0].cursor)
    assert [(TimerKind.RETRY, NOON)] == [(t.kind, t.due) for t in outcome.timers]


LIMITED = """
rules:
  - name: {}
    renamed_from: '{}'
    when: {{status: Failed}}
    limit: {{per: RunId, max: 1, window: 1d}}
"""
EACH = """
rules:
  - name: {}
    renamed_from: '{}'
    for_each: {{table: limits}}
    when: {{status: Running, in_status_for: 20m, where: "ExperimentName == experiment"}}
"""


def test_a_limit_counts_on_under_another_name(engine: Make, load: Load) -> None:
    e = engine(LIMITED.format("old", ""))
    e.come({"RunId": "r1"})
    e.use(load(LIMITED.format("new", "old")))
    e.at("1m").come({"RunId": "r1", "Status": "Running"}, {"RunId": "r1", "TimeGenerated": "2m"})
    assert [False, True] == [i.limited for i in e.notified()]


def test_rules_of_a_tables_rows_keep_what_fires_under_another_name(
    using: Callable[..., Engine], table: Callable[..., RuleSet]
) -> None:
    e = using(EACH.format("old", ""))
    e.come({"RunId": "c", "Status": "Running", "ExperimentName": "churn"})
    e.at("20m").tick()
    e.use(table(EACH.format("new", "old")))
    e.at("21m").tick()
    assert ["old"] == [i.rule for i in e.notified()]
    assert ["new[churn]", "new[fraud]"] == sorted(e.state.rules())
    e.come({"RunId": "c", "Status": "Completed", "ExperimentName": "churn"})
    assert ["new"] == [i.rule for i in e.resolved()]
