"""tocsin causes, as it is installed: a text, rows, a project's own causes, and the tests of all."""

import json
from pathlib import Path

from tests.integration.cli.conftest import Run

OOM = "step 12\ntorch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n"


def test_a_text_and_rows_are_tried_outside_a_project(run: Run, tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text(OOM)
    done = run("causes", "try", tmp_path / "train.log", "--output", "json")
    (line,) = done.stdout.splitlines()
    assert {"Cause": "cuda-out-of-memory", "Reason": "out_of_memory"}.items() <= json.loads(line).items()
    assert "Tried to allocate 2.00 GiB" in json.loads(line)["CauseLine"]
    rows = [{"LogTail": OOM}, {"Message": "Killed", "ExitCode": 137}, {"ErrorCode": "ResourceLimitExceeded"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    found = [
        json.loads(line) for line in run("causes", "try", tmp_path / "rows.jsonl", "-o", "json").stdout.splitlines()
    ]
    assert ["out_of_memory", "unknown", "quota"] == [row["Reason"] for row in found]
    assert [True, False, True] == [bool(row["Cause"]) for row in found]
    assert found[0]["Fingerprint"] == json.loads(line)["Fingerprint"]
    (tmp_path / "rows.jsonl").write_text("{}\nnot json\n")
    wrong = run("causes", "try", tmp_path / "rows.jsonl")
    assert 1 == wrong.returncode and "rows.jsonl:2" in wrong.stderr


def test_causes_of_a_project_are_listed_and_tested(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tocsin.yaml").touch()
    ours = tmp_path / "rules/causes/ours.yaml"
    ours.parent.mkdir(parents=True)
    ours.write_text("causes:\n  - {name: licence, reason: quota, pattern: no licence, tests: {hits: [no seat]}}\n")
    listed = {row["Cause"] for row in json.loads(run("causes", "list", "--home", tmp_path, "--json").stdout)}
    assert {"licence", "disk-full"} <= listed
    tested = run("causes", "test", "--home", tmp_path)
    assert (
        1 == tested.returncode and "ours.yaml:2: licence should be the cause of 'no seat', and none is" in tested.stdout
    )
    assert 0 == run("causes", "test").returncode
    ours.write_text("causes:\n  - {name: licence, pattern: '('}\n")
    assert (1, True) == (
        (done := run("check", "--home", tmp_path)).returncode,
        "ours.yaml:2" in done.stdout + done.stderr,
    )
