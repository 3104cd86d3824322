"""tocsin doctor: each thing that it checks, right and wrong, against real servers."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.harness import Tocsin
from tests.integration.cli.conftest import Run
from tests.integration.commands import PROGRAM, Here
from tests.integration.lived import event, live
from tests.servers.kafka import KafkaServer
from tests.servers.smtp import SmtpServer


def levels(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The worst level of each part."""
    order = ["ok", "warning", "error"]
    found: dict[str, str] = {}
    for each in json.loads(done.stdout)["Findings"]:
        found[each["Part"]] = max(found.get(each["Part"], "ok"), each["Level"], key=order.index)
        assert each["Level"] == "ok" or each["Fix"], each
    return found


def test_doctor_finds_nothing_wrong_running_or_not(run: Run, lived: Tocsin) -> None:
    running = run("doctor", "--json", "--home", lived.home)
    assert 0 == running.returncode, running.stderr
    assert (lived.url, True) == (json.loads(running.stdout)["Running"], json.loads(running.stdout)["Ready"])
    assert {"configuration", "kafka", "mail", "disk", "clock", "running", "events"} == levels(running).keys()
    resting = run("doctor")
    assert 0 == resting.returncode, resting.stderr
    assert "running          no" in resting.stdout


def test_doctor_says_what_is_wrong_with_files_and_servers(run: Run, tmp_path: Path) -> None:
    """Nobody listens on these ports."""
    (tmp_path / "tocsin.yaml").write_text(
        "smtp: {host: 127.0.0.1, port: 9, sender: t@example.org}\nadmin_email: [ops@example.org]\n"
        "kafka: {bootstrap_servers: ['127.0.0.1:9'], bootstrap_timeout_ms: 500}\n"
    )
    done = run("doctor", "--json")
    assert 1 == done.returncode
    found = levels(done)
    assert ("error", "error", "ok") == (found["mail"], found["kafka"], found["disk"])
    (tmp_path / "tocsin.yaml").write_text("x: 1")
    assert (1, {"configuration": "error"}) == ((broken := run("doctor", "--json")).returncode, levels(broken))


def test_doctor_shakes_hands_and_logs_in(
    run: Run, tmp_path: Path, smtp_server: Callable[..., SmtpServer], kafka: KafkaServer
) -> None:
    """With a real mail server and a real broker; a wrong password and a missing topic are found."""
    server = smtp_server(auth=("tocsin", "right"))
    settings = (
        f"smtp: {{host: 127.0.0.1, port: {server.port}, sender: t@example.org, username: tocsin, password: WORD}}\n"
        f"admin_email: [ops@example.org]\nkafka: {{bootstrap_servers: ['127.0.0.1:{kafka.port}']}}\n"
    )
    (tmp_path / "consumers").mkdir()
    topic = kafka.new_topic()
    for name, wanted in (("there", topic), ("events-kafka", "no.such.topic")):
        (tmp_path / "consumers" / f"{name}.yaml").write_text(
            f"connector: kafka\nkafka: {{topics: [{wanted}]}}\ncanonical: true\n"
        )
    (tmp_path / "tocsin.yaml").write_text(settings.replace("WORD", "right"))
    done = run("doctor", "--json")
    assert ("ok", "warning") == (levels(done)["mail"], levels(done)["kafka"]), done.stdout
    assert "no.such.topic" in done.stdout and topic not in done.stdout
    (tmp_path / "tocsin.yaml").write_text(settings.replace("WORD", "wrong"))
    assert "error" == levels(run("doctor", "--json"))["mail"]


def test_doctor_names_consumers_whose_clocks_are_ahead(run: Run, tmp_path: Path) -> None:
    """While tocsin runs and afterwards."""
    tocsin = Here(program=PROGRAM, home=tmp_path / "home")
    tocsin.home.mkdir()
    try:
        tocsin.start()
        tocsin.send(json.dumps(event("1", RunId="r1", Status="Running") | {"time": "2099-01-01T00:00:00Z"}).encode())
        running = run("doctor", "--json", "--home", tocsin.home)
        assert 0 == tocsin.stop()
    finally:
        tocsin.kill()
    resting = run("doctor", "--json", "--home", tocsin.home)
    for done in (running, resting):
        (found,) = [each for each in json.loads(done.stdout)["Findings"] if "stamped" in each["Text"]]
        assert ("clock", "warning", 0) == (found["Part"], found["Level"], done.returncode)
        assert found["Text"].startswith(
            "consumer events: 1 events of the last week were stamped more than 10 min ahead"
        )
        assert "the latest 2099-01-01 00:00:00Z" in found["Text"]


def test_doctor_finds_stores_that_do_not_belong_together(run: Run, tmp_path: Path, spawn: Run) -> None:
    for name in ("a", "b"):
        tocsin = live(tmp_path / name)
        tocsin.stop()
    (tmp_path / "a" / "data" / "state.sqlite").unlink()
    shutil.copy(tmp_path / "b" / "data" / "state.sqlite", tmp_path / "a" / "data")
    done = run("doctor", "--json", "--home", tmp_path / "a")
    assert (1, "error") == (done.returncode, levels(done)["stores"])
