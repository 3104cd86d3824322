"""Fixtures of the web tests."""

from collections.abc import Iterator

import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.lived import PROGRAM, live

TOKENS = {role: f"a-long-token-for-{role}" for role in ("intake", "api", "metrics")}


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
    tocsin = Tocsin(program=PROGRAM, home=home)
    tocsin.write("tocsin.yaml", "http: {host: 0.0.0.0}\nintake: {max_body: 64KiB}")
    lines = [f"  - {{name: {role}, token: {word}, roles: [{role}]}}" for role, word in TOKENS.items()]
    tocsin.write("tokens.yaml", "\n".join(["tokens:", *lines]))
    yield tocsin.start(within=60)
    tocsin.kill()
