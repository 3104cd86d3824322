"""Exit codes: 0 where all is fine, 1 where problems were found, 2 for misuse, as docs/cli.md says; one line says why."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.cli.conftest import Run
from tocsin import __version__
from tocsin.cli.client import Remote
from tocsin.errors import TocsinError

ROOT = Path(__file__).parents[3]
CODES = [
    ("check", 0),
    ("rules list", 0),
    ("rules test run-failed", 0),
    ("rules explain run-failed", 0),
    ("rules explain run-faild", 1),
    ("query Runs", 0),
    ("query Rns", 1),
    ("query", 2),
    ("runs list", 0),
    ("runs show no-such-run", 1),
    ("alerts list --open", 0),
    ("alerts show no-such-alert", 1),
    ("alerts ack no-such-alert --by anna", 1),
    ("alerts ack no-such-alert", 2),
    ("alerts snooze x --for tomorrow --by anna", 2),
    ("notifications list", 0),
    ("notifications list --state lost", 2),
    ("notifications show no-such-message", 1),
    ("silence list", 0),
    ("silence expire no-such-silence", 1),
    ("silence preview nonsense", 2),
    ("dead-letters list", 0),
    ("tokens list", 0),
    ("copy no/such/file.yaml", 1),
    ("rules list --no-such-option", 2),
    ("no-such-command", 2),
    ("exec --nmae x -- true", 2),
]
HOMELESS = {"no-such-command", "exec --nmae x -- true"}


@pytest.mark.parametrize(("line", "code"), CODES, ids=[line for line, _ in CODES])
def test_a_command_ends_with_the_documented_code(run: Run, lived: Tocsin, line: str, code: int) -> None:
    home = [] if line in HOMELESS else ["--home", lived.home]
    done = run(*line.split(), *home)
    assert code == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    assert code == 0 or done.stderr.strip()


def test_a_command_says_that_the_server_is_of_another_version(run: Run, lived: Tocsin) -> None:
    """One line with both versions; where none answers with a version, whether that is a tocsin."""
    remote = Remote(lived.url, "")
    with remote.client:
        for ask, lacks in (
            (lambda: remote.ask("POST", "/api/v1/newer", missing=True), "POST /api/v1/newer"),
            (lambda: remote.ask("DELETE", "/api/v1/rules"), "DELETE /api/v1/rules"),
            (lambda: remote._list("/api/v1/rules", "newer"), "'newer' in GET /api/v1/rules"),
        ):
            with pytest.raises(TocsinError) as raised:
                ask()
            assert str(raised.value) == (
                f"the tocsin {__version__} at {lived.url} has no {lacks}, which this command of tocsin {__version__} needs; "
                "restart it by this version"
            )
    done = run("rules", "status", TOCSIN_URL=f"{lived.url}/elsewhere")
    assert (1, 1) == (done.returncode, len(done.stderr.splitlines())), done.stderr
    assert done.stderr.endswith("needs; is that a tocsin?\n")


def test_the_documented_codes_are_these() -> None:
    said = "The exit code is 0 where all is fine, 1 where problems were found, 2 for misuse."
    assert said in (ROOT / "docs" / "cli.md").read_text()


@pytest.mark.timeout(120)
def test_a_step_that_cannot_be_interrupted_leaves_a_command_its_exit_code() -> None:
    """Python ended its thread in the midst of DuckDB's code: "terminate called without an active exception", exit -6."""
    program = textwrap.dedent("""
        import sys, threading, time
        import duckdb
        from tocsin.cli import main
        from tocsin.errors import QueryTimeout
        from tocsin.logstore.query.watch import GRACE, Workers

        class Slow:
            def __del__(self, sleep=time.sleep):
                sleep(1)

        sys.held = Slow()  # the interpreter takes long to end, as with many packages
        query = "SELECT count(*) FROM range(200000000) t(i) WHERE i % 7 = 3"
        try:
            Workers(duckdb.connect).run(lambda cursor: cursor.execute(query).fetchall(), 0.2 - GRACE)
        except QueryTimeout:
            print([t.name for t in threading.enumerate()])
        sys.argv = ["tocsin", *sys.argv[1:]]
        main()
    """)
    for arguments, code in ((["--version"], 0), (["check", "--home", "/nowhere"], 1), (["--no-such"], 2)):
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
        assert "query" in done.stdout
        assert (done.returncode, "terminate" in done.stderr) == (code, False), done.stderr
