"""The route tree: who gets an alert, and why."""

from tocsin.notify.routing.matchers import Matcher, one_of, parse_matchers
from tocsin.notify.routing.tree import (
    Route,
    RuleNames,
    Why,
    group_values,
    nodes,
    route,
)


def by(**match: str) -> tuple[Matcher, ...]:
    return tuple(one_of(name, [text]) for name, text in match.items())


def node(*receivers: str, routes: tuple[Route, ...] = (), goes_on: bool = False, **match: str) -> Route:
    return Route(receivers=receivers, matchers=by(**match), routes=routes, goes_on=goes_on)


def took(root: Route, **fields: str) -> list[str]:
    return [r for each in nodes(root, fields) for r in each.receivers]


def test_the_first_child_that_matches_takes_it() -> None:
    root = node("root", routes=(node("a", team="x"), node("b", team="x"), node("c", team="y")))
    assert ["a"] == took(root, team="x")
    assert ["c"] == took(root, team="y")


def test_with_continue_the_siblings_after_it_are_tried_too() -> None:
    root = node("root", routes=(node("a", team="x", goes_on=True), node("b", team="y"), node("c", team="x"), node("d")))
    assert ["a", "c"] == took(root, team="x")


def test_what_no_child_matches_the_node_takes_itself() -> None:
    root = node("root", routes=(node("a", team="x", routes=(node("deep", env="prod"),)),))
    assert ["root"] == took(root, team="z")
    assert ["a"] == took(root, team="x")
    assert ["deep"] == took(root, team="x", env="prod")


def test_a_child_that_goes_on_and_matches_alone_keeps_it_from_the_parent() -> None:
    root = node("root", routes=(node("a", team="x", goes_on=True),))
    assert ["a"] == took(root, team="x")


EXAMPLE = Route(
    receivers=("ml-leads",),
    routes=(
        Route(escalation="page", matchers=by(severity=">= critical"), goes_on=True, place="r.yaml:3"),
        Route(receivers=("chat",), matchers=by(team="ranking"), place="r.yaml:4"),
    ),
)


def test_the_example_of_the_language() -> None:
    found = route(EXAMPLE, ["owner"], {"rule": "run-failed", "severity": "critical", "team": "ranking"})
    assert [("owner", Why.ALWAYS), ("page", Why.MATCHED), ("chat", Why.MATCHED)] == [(t.name, t.why) for t in found]
    assert "page: its route matches severity: >= critical (r.yaml:3)" == found[1].text
    found = route(EXAMPLE, ["owner"], {"rule": "run-failed", "severity": "error"})
    assert [("owner", Why.ALWAYS), ("ml-leads", Why.ROOT)] == [(t.name, t.why) for t in found]


def test_what_a_rule_names_comes_besides_and_is_not_grouped() -> None:
    found = route(EXAMPLE, ["owner"], {}, RuleNames(to=("dora@example.org", "ml-leads")))
    assert [("dora@example.org", Why.RULE), ("ml-leads", Why.RULE), ("owner", Why.ALWAYS)] == [
        (t.name, t.why) for t in found
    ]
    assert [None, None, EXAMPLE] == [t.route for t in found]


def test_only_leaves_out_the_tree_and_always() -> None:
    found = route(EXAMPLE, ["owner"], {"severity": "critical"}, RuleNames(to=("dora@example.org",), only=True))
    assert [("dora@example.org", Why.RULE)] == [(t.name, t.why) for t in found]


def test_what_no_route_takes_goes_to_the_default_receiver() -> None:
    (found,) = route(Route(), [], {"rule": "x"})
    assert ("default_receiver", Why.UNROUTED) == (found.name, found.why)


def test_nobody_gets_it_twice_and_the_first_reason_counts() -> None:
    root = node("owner", "b", routes=(node("b", "c", team="x", goes_on=True), node("c", "d", team="x")))
    assert ["owner", "b", "c", "d"] == [t.name for t in route(root, ["owner"], {"team": "x"})]
    assert [("owner", Why.ALWAYS), ("b", Why.ROOT)] == [(t.name, t.why) for t in route(root, ["owner"], {})]


def test_group_values() -> None:
    root = Route(
        group_by=("rule", "Target"),
        routes=(Route(matchers=parse_matchers('team="x"'), group_by=("...",), place="r:2"),),
    )
    assert {"rule": "a", "Target": ""} == group_values(root, {"rule": "a", "team": "x"})
    assert {"rule": "a", "team": "x"} == group_values(root.routes[0], {"rule": "a", "team": "x"})
