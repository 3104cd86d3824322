"""deploy/ as far as it can be checked without Docker and a cluster: schemas, linters, systemd's own checks, and a
ConfigMap's symlink swap before a real tocsin.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml  # type: ignore[import-untyped]

from tests.acceptance.harness import RUN_FAILED
from tests.conftest import _without
from tests.integration.commands import PROGRAM, Here
from tests.servers.eventually import eventually
from tests.servers.process import ServerMissing
from tests.servers.prometheus import promtool
from tocsin.app.views.check import check
from tocsin.config.project.home import open_home

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent


def run(*command: str) -> str:
    """Run it; what it said where it ended with 0."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    assert "" == run(str(BIN / "hadolint"), str(ROOT / "Dockerfile"))


def test_the_dockerfile_copies_what_the_wheel_is_built_of() -> None:
    """All that hatchling includes is in the first stage, and .dockerignore lets it through."""
    built = (ROOT / "pyproject.toml").read_text()
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    sources = {word for line in copied for word in line.split()}
    (only,) = re.findall(r"^only-include = (\[.*\])", built, re.MULTILINE)
    assert {name for name in json.loads(only) if not {name, name.partition("/")[0]} & sources} == set()
    assert sources == {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}


# -- compose -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    return found


def test_the_compose_file_is_what_its_schema_says(compose: dict[str, Any]) -> None:
    schema = json.loads((ROOT / "tests/data/compose/compose-spec.json").read_text())
    jsonschema.Draft7Validator(schema).validate(compose)


def test_every_file_that_compose_mounts_is_there(compose: dict[str, Any]) -> None:
    volumes = set(compose["volumes"])
    for name, service in compose["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / "compose" / source).resolve().exists(), (name, source)
            else:
                assert source in volumes, (name, source)
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), (name, port)


def test_the_project_of_compose_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tocsin check` finds nothing but that mails link to this machine."""
    shutil.copytree(DEPLOY / "compose" / "project", tmp_path / "project")
    assert [] == [str(p) for p in check(open_home(tmp_path / "project"), with_tests=False) if not p.warning]


def test_the_scrape_file_of_compose_is_valid(tmp_path: Path) -> None:
    for name in ("tocsin.rules.yml", "tocsin.slo.rules.yml"):
        shutil.copy(DEPLOY / "prometheus" / name, tmp_path)
    shutil.copy(DEPLOY / "compose" / "prometheus.yml", tmp_path)
    try:
        done = promtool("check", "config", "--syntax-only", str(tmp_path / "prometheus.yml"))
    except ServerMissing as why:
        _without(why)
    assert 0 == done.returncode, done.stdout + done.stderr


def test_tokens_of_compose_are_made_once(tmp_path: Path) -> None:
    """By its script, run here by hand: a second start changes nothing."""
    (tmp_path / "project").mkdir()
    tokens = tmp_path / "run"
    tokens.mkdir()
    (tmp_path / "project" / "tocsin.yaml").write_text(f"http: {{tokens_file: {tokens}/tokens.yaml}}\n")
    script = (DEPLOY / "compose" / "make-tokens.sh").read_text().replace("/run/tocsin", str(tokens))
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "TOCSIN_HOME": str(tmp_path / "project")}

    def make() -> str:
        done = subprocess.run(["/bin/sh", "-c", script], env=env, capture_output=True, text=True, timeout=60)
        assert 0 == done.returncode, done.stderr
        return done.stdout

    assert "token for sending events" in make()
    first = (tokens / "tokens.yaml").read_text(), (tokens / "prometheus-token").read_text()
    assert "" == make()
    assert first == ((tokens / "tokens.yaml").read_text(), (tokens / "prometheus-token").read_text())


# -- systemd -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that is there."""
    text = (DEPLOY / "systemd" / "tocsin.service").read_text()
    made = tmp_path / "tocsin.service"
    made.write_text(text.replace("/opt/tocsin/bin/tocsin", "/bin/true"))
    if shutil.which("systemd-analyze") is None:
        _without(ServerMissing("systemd-analyze: apt-get install systemd"))
    return made


def test_systemd_finds_nothing_in_the_unit(unit: Path) -> None:
    assert "" == run("systemd-analyze", "verify", str(unit))


def test_the_unit_is_hardened(unit: Path) -> None:
    """Exposure below 2 of 10; the process still sees /proc/stat, of which process_* metrics are made."""
    assert "Overall exposure level" in run("systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit))
    assert "ProcSubset=pid" not in unit.read_text()


class KubeletVolume:
    """A directory as the kubelet keeps it: files link to ..data, which links to a directory of a time."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._times = directory, 0

    def write(self, files: dict[str, str]) -> None:
        """Change all at once, by renaming one symlink."""
        self._times += 1
        fresh = self._directory / f"..2026_01_0{self._times}"
        fresh.mkdir(parents=True)
        for name, text in files.items():
            (fresh / name).write_text(text)
        (self._directory / "..data_tmp").symlink_to(fresh.name)
        os.replace(self._directory / "..data_tmp", self._directory / "..data")
        for name in files:
            if not (self._directory / name).is_symlink():
                (self._directory / name).symlink_to(f"..data/{name}")


def test_a_swap_of_a_configmap_comes_into_force(tmp_path: Path) -> None:
    """Without a restart, and a broken one is refused."""
    home = tmp_path / "home"
    volume = KubeletVolume(home / "rules" / "alerts")
    volume.write({"ours.yaml": RUN_FAILED.replace("run-failed", "first")})
    tocsin = Here(program=PROGRAM, home=home).start()
    try:

        def rules() -> set[str]:
            return {rule["Rule"] for rule in tocsin.get("/api/v1/rules").body["rules"]}

        assert "first" in rules()
        volume.write({"ours.yaml": RUN_FAILED.replace("run-failed", "renamed")})
        eventually(lambda: "renamed" in rules() and "first" not in rules(), within=30)
        volume.write({"ours.yaml": "rules: [{name: broken"})
        eventually(lambda: tocsin.metrics()["tocsin_config_last_reload_successful"] == 0, within=30)
        assert "renamed" in rules()
    finally:
        tocsin.kill()
