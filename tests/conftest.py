"""Fixtures of all tests: real servers, once a session. One that is missing skips its tests at home and fails in CI."""

import atexit
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NoReturn

import hypothesis
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.oracle.effort import examples
from tests.servers.kafka import KafkaServer
from tests.servers.process import ServerMissing
from tests.servers.process import free_port as find_free_port
from tests.servers.prometheus import PrometheusServer
from tests.servers.smtp import SmtpServer
from tests.servers.wheel import install_wheel

# Where a machine sets it, each start of tocsin compiles all modules again, which doubles what a start costs.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ["TOCSIN_SPOOL"] = tempfile.mkdtemp(prefix="tocsin-tests-")  # not the developer's own
atexit.register(shutil.rmtree, os.environ["TOCSIN_SPOOL"], ignore_errors=True)

# `test`, the default, draws the same examples each time; `make fuzz` passes --hypothesis-profile=fuzz.
hypothesis.settings.register_profile("test", max_examples=50, derandomize=True, deadline=None)
hypothesis.settings.register_profile("fuzz", max_examples=examples(100), deadline=None, print_blob=True)
hypothesis.settings.load_profile("test")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Tests are mixed, but in the same order each time: pytest-randomly's seed is fixed unless one is given, or in
    `make fuzz`.
    """
    if config.getoption("randomly_seed", None) == "default" and config.getoption("--hypothesis-profile") != "fuzz":
        config.option.randomly_seed = 1


class Together(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Tests that share a server run in one process: each process that gets some of them starts its own."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        _, kind, *rest = file.split("/")
        if kind != "integration":
            return nodeid.partition("[")[0]  # all cases of a test: one by one, processes would wait for their next
        return rest[0] if rest[0] in ("cli", "web") else file  # most of these look at one running tocsin


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Together | None:
    """What `make test` asks for by --dist loadscope."""
    return Together(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """In several processes: acceptance tests, which mostly wait, come first."""
    yield
    if hasattr(config, "workerinput"):  # after pytest-randomly has mixed them
        items.sort(key=lambda item: "acceptance" not in item.path.parts)


def _without(why: ServerMissing) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"in CI every server must be there. {why}", pytrace=False)
    pytest.skip(str(why))


def forget_workspaces() -> None:
    """End what the SDK keeps of workspaces in this process. The sender of one whose tocsin is away asks the variables of
    whatever test then runs where tocsin is, and would bring its events to the server of that test.
    """
    session = sys.modules.get("tocsin.sdk.session")
    for left in session._sessions.values() if session is not None else ():
        recorder = left.recorder
        if recorder.sender is not None:
            recorder.sender._find = lambda: None
        recorder._closed = True  # no close(): it would wait for a server that does not answer
        recorder._wake.set()
        recorder._waiting.set()
        recorder.flush()
    if session is not None:
        session._sessions.clear()


@pytest.fixture(autouse=True)
def alone_in_the_process() -> Iterator[None]:
    """No test's runs outlive it."""
    yield
    forget_workspaces()


@pytest.fixture
def free_port() -> int:
    """A loopback port that nobody listens on."""
    return find_free_port()


@pytest.fixture(scope="session")
def kafka_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """The session's broker for fixtures of a wider scope; a test asks for `kafka`."""
    try:
        server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    except ServerMissing as why:
        _without(why)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def kafka(kafka_session: KafkaServer) -> KafkaServer:
    """The session's broker, running also where the test before stopped it. Take a `new_topic()`."""
    return kafka_session.start()


@pytest.fixture(scope="session")
def smtp_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmtpServer]:
    """The session's SMTP server for fixtures of a wider scope; a test asks for `smtp`."""
    server = SmtpServer(tmp_path_factory.mktemp("smtp")).start()
    yield server
    server.stop()


@pytest.fixture
def smtp(smtp_session: SmtpServer) -> SmtpServer:
    """The session's SMTP server (no TLS, no login), with an empty mailbox and no scripts."""
    return smtp_session.fresh()


@pytest.fixture
def smtp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., SmtpServer]]:
    """Make further SMTP servers: smtp_server(security="starttls", auth=("user", "word"), smtputf8=False)."""
    made: list[SmtpServer] = []

    def make(**settings: Any) -> SmtpServer:
        made.append(SmtpServer(tmp_path_factory.mktemp("smtp"), **settings))
        return made[-1].start()

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], PrometheusServer]]:
    """Make a running Prometheus from the text of its configuration."""
    made: list[PrometheusServer] = []

    def make(config_text: str) -> PrometheusServer:
        try:
            server = PrometheusServer(tmp_path_factory.mktemp("prometheus"), config_text)
        except ServerMissing as why:
            _without(why)
        made.append(server)
        return server.start()

    yield make
    for server in made:
        server.stop()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment in which tocsin is installed from its wheel: run `wheel / "tocsin"`.

    CI names one in TOCSIN_BIN, installed without the lock; else one is made with the locked versions, by the first of
    several processes for all.
    """
    if ready := os.environ.get("TOCSIN_BIN"):
        return Path(ready)
    base = tmp_path_factory.getbasetemp()
    directory = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "wheel"
    directory.mkdir(exist_ok=True)
    made = directory / "made"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            install_wheel(directory)
            made.touch()
    return directory / "venv" / "bin"
