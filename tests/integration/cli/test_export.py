"""tocsin export --parquet: tables whole, as of one moment, beside a running tocsin and without one."""

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from tests.acceptance.harness import Tocsin
from tests.integration.cli.conftest import Run


def rows_of(file: Path) -> list[dict[str, Any]]:
    """As another tool reads them."""
    with closing(duckdb.connect()) as con:
        found = con.execute("SELECT * FROM read_parquet(?)", [str(file)])
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def test_files_have_what_a_query_has(run: Run, lived: Tocsin, tmp_path: Path) -> None:
    """All tables; times in UTC, dynamic columns as JSON text."""
    done = run("export", "--json", "--parquet", str(tmp_path / "out"), "--home", lived.home)
    assert 0 == done.returncode, done.stderr
    listed = json.loads(done.stdout)
    assert {"RunStatusChanged", "Heartbeats", "Runs", "Alerts", "Notifications"} <= {each["Table"] for each in listed}
    for each in listed:
        rows = rows_of(Path(each["File"]))
        assert each["Rows"] == len(rows), each
    asked = lived.query("Runs | order by RunId asc | project RunId, Status, FirstTime, Tags")
    stored = sorted(rows_of(tmp_path / "out" / "Runs.parquet"), key=lambda row: row["RunId"])
    assert [row["RunId"] for row in asked] == [row["RunId"] for row in stored]
    for ours, theirs in zip(asked, stored, strict=True):
        assert ours["Status"] == theirs["Status"]
        assert ours["Tags"] == json.loads(theirs["Tags"])
        assert datetime.fromisoformat(ours["FirstTime"]) == theirs["FirstTime"].astimezone(UTC)


def test_one_table_of_a_project_at_rest_replaces_an_older_file(run: Run, lived: Tocsin, tmp_path: Path) -> None:
    assert 0 == run("backup", str(tmp_path / "copy"), "--home", lived.home).returncode
    assert 0 == run("restore", str(tmp_path / "copy")).returncode
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "Runs.parquet").write_text("an older one")
    done = run("export", "--parquet", "out", "--table", "Runs")
    assert 0 == done.returncode, done.stderr
    assert ["Runs.parquet"] == [path.name for path in (tmp_path / "out").iterdir()]
    assert lived.count("Runs") == len(rows_of(tmp_path / "out" / "Runs.parquet"))


def test_what_cannot_be_exported_is_named(run: Run, lived: Tocsin, tmp_path: Path) -> None:
    wrong = run("export", "--parquet", "out", "--table", "Rans", "--home", lived.home)
    assert (1, True) == (wrong.returncode, "there is no table 'Rans'; there are Actions, Alerts, " in wrong.stderr)
    (tmp_path / "file").write_text("")
    blocked = run("export", "--parquet", "file", "--home", lived.home)
    assert (1, True) == (blocked.returncode, "file cannot be made" in blocked.stderr)
    nothing = run("export", "--parquet", "out")
    assert (1, True) == (nothing.returncode, "has no events yet" in nothing.stderr)


def test_only_a_command_on_the_machine_exports(lived: Tocsin, tmp_path: Path) -> None:
    answer = lived._ask("POST", "/api/v1/export", json={"directory": str(tmp_path / "out")})
    assert 403 == answer.status
    assert not (tmp_path / "out").exists()
