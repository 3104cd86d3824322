"""Inhibition, sentence by sentence."""

from datetime import timedelta
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tocsin.notify.routing.inhibit import Inhibited, Inhibitor, InhibitRule
from tocsin.notify.routing.matchers import Fields, one_of, parse_matchers

DOWN = InhibitRule(
    source=(one_of("rule", ["cluster-down"]),),
    target=(one_of("rule", ["run-silent", "run-failed"]),),
    equal=("Target",),
    hold=timedelta(minutes=2),
)
CLUSTER = {"rule": "cluster-down", "Target": "aks-eu"}
SILENT = {"rule": "run-silent", "Target": "aks-eu"}


def inhibitor(*rules: InhibitRule, **sources: Fields) -> Inhibitor:
    found = Inhibitor(rules)
    for name, fields in sources.items():
        found.add(name, fields)
    return found


def test_a_source_inhibits_targets_with_equal_values_while_it_is_active() -> None:
    found = inhibitor(DOWN, s1=CLUSTER)
    assert Inhibited(source="s1", rule=DOWN) == found.inhibited(SILENT)
    assert found.inhibited({**SILENT, "Target": "aks-us"}) is None
    assert found.inhibited({**SILENT, "rule": "run-stuck"}) is None
    found.remove("s1")
    assert found.inhibited(SILENT) is None


def test_while_one_of_two_sources_is_active_the_target_is_inhibited() -> None:
    found = inhibitor(DOWN, s1=CLUSTER, s2=CLUSTER)
    found.remove("s1")
    assert Inhibited(source="s2", rule=DOWN) == found.inhibited(SILENT)
    found.remove("s1")
    found.remove("never there")
    assert found.inhibited(SILENT) is not None


def test_an_empty_value_equals_nothing() -> None:
    """Unlike Alertmanager: two alerts without a Target are not on the same one."""
    assert inhibitor(DOWN, s1={"rule": "cluster-down"}).inhibited({"rule": "run-silent"}) is None
    assert inhibitor(DOWN, s1={"rule": "cluster-down"}).hold({"rule": "run-silent"}) == timedelta(0)


def test_without_equal_any_source_inhibits_any_target() -> None:
    rule = InhibitRule(source=DOWN.source, target=DOWN.target)
    assert inhibitor(rule, s1={"rule": "cluster-down"}).inhibited({"rule": "run-failed"}) is not None


BOTH = InhibitRule(
    source=parse_matchers('severity=~"critical|error"'), target=parse_matchers('severity=~"error|warning"')
)


def test_an_alert_that_matches_both_sides_is_not_inhibited_by_one_that_does_too() -> None:
    error, warning, critical = ({"severity": s} for s in ("error", "warning", "critical"))
    found = inhibitor(BOTH, e1=error)
    assert found.inhibited(error) is None  # nor by itself
    assert Inhibited(source="e1", rule=BOTH) == found.inhibited(warning)
    found.add("c1", critical)
    assert Inhibited(source="c1", rule=BOTH) == found.inhibited(error)


def test_a_target_waits_as_long_as_the_longest_hold() -> None:
    longer = InhibitRule(source=DOWN.source, target=(one_of("Target", ["aks-eu"]),), hold=timedelta(minutes=5))
    assert timedelta(minutes=2) == inhibitor(DOWN).hold(SILENT)
    assert timedelta(minutes=5) == inhibitor(DOWN, longer).hold(SILENT)
    assert timedelta(0) == inhibitor(DOWN).hold({"rule": "run-stuck", "Target": "aks-eu"})


def test_a_rule_reads_as_a_sentence() -> None:
    assert "rule: cluster-down inhibits rule: [run-silent, run-failed] on the same Target" == DOWN.text


FIELDS = st.fixed_dictionaries(
    {"severity": st.sampled_from(["critical", "error", "warning"]), "Target": st.sampled_from(["", "a", "b"])}
)
EQUAL = InhibitRule(source=BOTH.source, target=BOTH.target, equal=("Target",))


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.none() | FIELDS), max_size=15), FIELDS)
def test_however_alerts_come_and_go_only_active_sources_inhibit(
    changes: list[tuple[int, dict[str, str] | None]], target: dict[str, str]
) -> None:
    """Against a search through all active alerts."""
    found, active = Inhibitor((BOTH, EQUAL)), dict[str, dict[str, str]]()
    for number, fields in changes:
        if fields is None:
            found.remove(str(number))
            active.pop(str(number), None)
        else:
            found.add(str(number), fields)
            active[str(number)] = fields

    def sides(fields: dict[str, str]) -> tuple[bool, bool]:
        return fields["severity"] in ("critical", "error"), fields["severity"] in ("error", "warning")

    expected = any(
        sides(source)[0]
        and sides(target)[1]
        and not (all(sides(source)) and all(sides(target)))
        and all(source[name] == target[name] != "" for name in rule.equal)
        for source, rule in product(active.values(), (BOTH, EQUAL))
    )
    assert expected is (found.inhibited(target) is not None)
