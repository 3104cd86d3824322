"""Fixtures of the web tests."""

from collections.abc import Iterator

import pytest

from tests.acceptance.harness import Tocsin
from tests.conftest import _without
from tests.integration.commands import PROGRAM, Here
from tests.integration.lived import live
from tests.servers.browser import Browser
from tests.servers.process import ServerMissing

PEOPLE = """
people:
  - {name: anna, email: anna@example.org}
  - {name: bela, email: bela@example.org}
receivers: [{name: on-call, schedule: primary}]
schedules:
  - name: primary
    timezone: UTC
    layers: [{name: days, hours: "08:00-20:00", rotation: {members: anna}}]
    overrides: [{from: 2020-01-01T00:00, to: 2026-01-01T00:00, who: bela}]
  - {name: always, timezone: UTC, rotation: {members: bela}}
escalations: [{name: page, steps: [{notify: bela}]}]
route:
  receiver: anna
  group_by: [rule]
  routes:
    - {match: {ExperimentName: paged}, escalation: page}
    - {match: {ExperimentName: [subbed, too-loud, calm]}, receiver: anna, group_by: []}
"""
TOKENS = {role: f"a-long-token-for-{role}" for role in ("producer", "viewer", "responder", "admin", "metrics")}

BOUND, EXPIRED = "a-long-token-for-github", "a-long-token-of-last-year"
SIGNING = {"github": "a-long-secret-of-github", "slack": "a-long-secret-of-slack"}
FROM_LAB = "a-long-token-of-the-lab"
NIGHTLY = "a-long-token-of-a-cron-job"


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tocsin]:
    """A running tocsin with a little history, on loopback without tokens. Only look at it."""
    tocsin = live(tmp_path_factory.mktemp("lived") / "home")
    yield tocsin
    tocsin.kill()


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tocsin]:
    """A running tocsin that everybody on the network reaches, with a token for each role."""
    home = tmp_path_factory.mktemp("guarded") / "home"
    home.mkdir()
    tocsin = Here(program=PROGRAM, home=home)
    tocsin.write("tocsin.yaml", "http: {host: 0.0.0.0}\nintake: {max_body: 64KiB}")
    lines = [f"  - {{name: {role}, token: {word}, roles: [{role}]}}" for role, word in TOKENS.items()]
    lines += [
        f"  - {{name: github, token: {BOUND}, roles: [producer], consumers: [github-actions, ping]}}",
        f"  - {{name: last-year, token: {EXPIRED}, roles: [admin], expires: 2025-01-01}}",
        *(
            f"  - {{name: {by}-signs, token: {word}, roles: [producer], signature: {by}}}"
            for by, word in SIGNING.items()
        ),
        f"  - {{name: lab, token: {FROM_LAB}, roles: [producer], sources: [lab, lab-2], runs: [lab-*]}}",
        f"  - {{name: nightly, token: {NIGHTLY}, roles: [producer], runs: [nightly*]}}",
    ]
    tocsin.write("tokens.yaml", "\n".join(["tokens:", *lines]))
    yield tocsin.start(within=60)
    tocsin.kill()


@pytest.fixture(scope="session")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    try:
        made = Browser(tmp_path_factory.mktemp("browser"))
    except ServerMissing as why:
        _without(why)
    yield made
    made.close()


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A wide one, with scripts."""
    try:
        made = Browser(tmp_path_factory.mktemp("desk"), width=1200, height=900, scripts=True)
    except ServerMissing as why:
        _without(why)
    yield made
    made.close()


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tocsin]:
    """A running tocsin without anything open."""
    home = tmp_path_factory.mktemp("console") / "home"
    home.mkdir()
    tocsin = Here(program=PROGRAM, home=home)
    tocsin.write("rules/oncall/team.yaml", PEOPLE)
    yield tocsin.start(within=60)
    tocsin.kill()
