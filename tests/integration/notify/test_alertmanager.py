"""Held to a real Alertmanager: the route tree, matchers, inhibition, silences."""

import json
import random
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import _without
from tests.servers.alertmanager import AlertmanagerServer, routes
from tests.servers.process import ServerMissing
from tocsin.notify.routing.inhibit import Inhibitor, InhibitRule
from tocsin.notify.routing.matchers import BadMatcher, Matcher, matches, parse_matchers
from tocsin.notify.routing.mute import Silence, silenced
from tocsin.notify.routing.tree import Route, nodes

VALUES = ["", "a", "b", "ab", "a.b", 'q"u', "back\\slash", "Ünï"]
LABELS = [{k: v for k, v in (("x", x), ("y", y)) if v} for x, y in product(VALUES, ["", "a", "b"])]


def parse_all(texts: Iterable[str]) -> tuple[Matcher, ...]:
    return tuple(each for text in texts for each in parse_matchers(text))


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[dict[str, Any]], AlertmanagerServer]]:
    """Starts Alertmanagers with configurations."""
    started: list[AlertmanagerServer] = []

    def start(more: dict[str, Any]) -> AlertmanagerServer:
        config = {"route": {"receiver": "r"}, "receivers": [{"name": "r"}], **more}
        try:
            server = AlertmanagerServer(tmp_path_factory.mktemp("alertmanager"), json.dumps(config))
        except ServerMissing as why:
            _without(why)
        started.append(server.start())
        return server

    yield start
    for server in started:
        server.stop()


def fire(server: AlertmanagerServer, alerts: list[dict[str, str]]) -> None:
    server.post("alerts", [{"labels": {"n": str(n), **labels}} for n, labels in enumerate(alerts)])


def found(server: AlertmanagerServer, *filters: str) -> set[int] | None:
    alerts = server.alerts(*filters)
    return None if alerts is None else {int(each["labels"]["n"]) for each in alerts}


MATCHERS = [
    'x="a"', 'x!="a"', 'x=~"a|b"', 'x!~"a|b"', 'x=~"a"', 'x=~"a.*"', 'x=~".*"', 'x=~".+"', 'x=""', 'x!=""', 'x=~"(?i)A"',
    "x=a", "x=", " x = a ", 'x = "a"', r'x="q\"u"', r'x="back\\slash"', r"x=back\slash", 'x="Ünï"', 'x=~"a\\\\.b"', "x=~a.b",
    'x="a', "x", "=a", 'x=="a"', 'x="a"b', 'x=~"("', 'x=~"(?=a)"', 'x=~"[[:alpha:]]"', 'x=~"^a$"', "x=~a|b", '"x"', "x=ab ",
    'x=~"(a+)+"', r'x=~"\\d"', r'x=~"\\pL"', r'x=~"\\x61"', 'x=~"a{2001}"',
]  # fmt: skip


def test_matchers_match_what_alertmanagers_do_and_are_refused_where_they_are(
    serve: Callable[[dict[str, Any]], AlertmanagerServer],
) -> None:
    """By the API's `filter`, which reads a matcher as a configuration does."""
    server = serve({})
    fire(server, LABELS)
    for text in MATCHERS:
        try:
            ours = {n for n, labels in enumerate(LABELS) if matches(parse_matchers(text), labels)}
        except BadMatcher:
            ours = None
        assert found(server, text) == ours, text


def worlds(chance: random.Random, alerts: list[dict[str, str]], count: int) -> list[dict[str, str]]:
    """Random choices of `alerts`, each apart from the others by its label `world`."""
    return [
        {"world": str(n), **each}
        for n in range(count)
        for each in chance.sample(alerts, chance.randint(1, len(alerts)))
    ]


def test_inhibition_is_alertmanagers_where_no_equal_value_is_empty(
    serve: Callable[[dict[str, Any]], AlertmanagerServer],
) -> None:
    """Rules that overlap, alerts that match both sides. (Where a value is empty ours differs, as its unit test says.)"""
    rules = [
        (['x="a"'], ['x=~"b|ab"'], ["world", "y"]),
        (['x=~"a.*"'], ['x=~"ab|a.b"'], ["world", "y"]),  # ab and a.b match both sides
        (['x=~"Ü.*"'], ['x!~"Ü.*"', 'y="a"'], ["world"]),
    ]
    inhibit_rules = [{"source_matchers": s, "target_matchers": t, "equal": e} for s, t, e in rules]
    server = serve({"inhibit_rules": inhibit_rules})
    fire(server, worlds(random.Random(3), [each for each in LABELS if each.get("y")], 40))
    alerts = server.alerts() or []
    ours = Inhibitor([InhibitRule(source=parse_all(s), target=parse_all(t), equal=tuple(e)) for s, t, e in rules])
    for each in alerts:
        ours.add(each["fingerprint"], each["labels"])
    expected = {each["fingerprint"] for each in alerts if each["status"]["inhibitedBy"]}
    assert 50 < len(expected) < len(alerts) - 50
    assert expected == {each["fingerprint"] for each in alerts if ours.inhibited(each["labels"]) is not None}


def test_silences_hide_what_alertmanagers_hide(serve: Callable[[dict[str, Any]], AlertmanagerServer]) -> None:
    server = serve({})
    fire(server, LABELS)
    now = datetime.now(UTC)
    silences = []
    for n, texts in enumerate((['x="a"', 'y!="a"'], ['x=~"a.+"'], ['x!~".*a.*"', 'x!=""'])):
        end = now + timedelta(hours=1 + n)
        matchers = [
            {"name": m.name, "value": m.value, "isRegex": "~" in m.op, "isEqual": not m.op.startswith("!")}
            for m in parse_all(texts)
        ]
        body = {"startsAt": now.isoformat(), "endsAt": end.isoformat(), "createdBy": "anna", "comment": "c"}
        id_ = server.post("silences", {"matchers": matchers, **body})["silenceID"]
        silences.append(Silence(id=id_, matchers=parse_all(texts), start=now, end=end, by="anna"))
    for each in server.alerts() or []:
        found_ = silenced(silences, each["labels"], now + timedelta(minutes=1))
        assert bool(each["status"]["silencedBy"]) is (found_ is not None)
        assert found_ is None or found_.id in each["status"]["silencedBy"]


def random_tree(chance: random.Random, name: str, depth: int) -> tuple[dict[str, Any], Route]:
    """A node with random children, in their form and in ours; each has a receiver of its own."""
    texts = chance.sample(['x="a"', 'x=~"a.*"', 'y="b"', 'y!="a"', 'x!~"b|ab"', 'y=""'], chance.randint(0, 2))
    goes_on = chance.random() < 0.4
    children = [random_tree(chance, f"{name}-{n}", depth - 1) for n in range(chance.randint(0, 3) if depth else 0)]
    theirs = {"receiver": name, "matchers": texts, "continue": goes_on, "routes": [each for each, _ in children]}
    ours = tuple(each for _, each in children)
    return theirs, Route(receivers=(name,), matchers=parse_all(texts), goes_on=goes_on, routes=ours)


def names(route: Route) -> list[str]:
    return [*route.receivers, *(name for child in route.routes for name in names(child))]


def test_the_tree_takes_what_alertmanagers_takes(
    serve: Callable[[dict[str, Any]], AlertmanagerServer], tmp_path: Path
) -> None:
    """150 random trees, each under a node of its own, with every alert; and amtool says the same of some."""
    chance = random.Random(11)
    drawn = [random_tree(chance, f"t{n}", 3) for n in range(150)]
    theirs = [{"receiver": "r", "matchers": [f'world="{n}"'], "routes": [tree]} for n, (tree, _) in enumerate(drawn)]
    root = Route(
        receivers=("r",),
        routes=tuple(
            Route(receivers=("r",), matchers=parse_matchers(f'world="{n}"'), routes=(tree,))
            for n, (_, tree) in enumerate(drawn)
        ),
    )
    receivers = [{"name": name} for name in {"r", *names(root)}]
    config = {"route": {"receiver": "r", "routes": theirs}, "receivers": receivers}
    server = serve(config)
    fire(server, [{"world": str(n), **labels} for n in range(len(drawn)) for labels in LABELS])
    alerts = server.alerts() or []
    assert len(drawn) * len(LABELS) == len(alerts)
    taken = set()
    for each in alerts:
        ours = [name for node in nodes(root, each["labels"]) for name in node.receivers]
        assert [r["name"] for r in each["receivers"]] == ours, each["labels"]
        taken.add(tuple(ours))
    assert len(taken) > 300
    (tmp_path / "a.yml").write_text(json.dumps(config))
    plain = [each for each in alerts if "".join(each["labels"].values()).isalnum()]  # amtool reads them as matchers
    for each in chance.sample(plain, 10):
        ours = [name for node in nodes(root, each["labels"]) for name in node.receivers]
        assert routes(tmp_path / "a.yml", each["labels"]) == ours
