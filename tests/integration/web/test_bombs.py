"""Queries made to take all memory or never to end, asked of a tocsin that runs: each ends in time with an error that
says why,
the process stays small, and events are taken meanwhile.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.harness import Answer, Gone, Tocsin
from tests.integration.commands import PROGRAM, Here
from tests.integration.lived import event

TIMEOUT = 3.0
"""Seconds that a query may run, by the settings of the project directory."""
GROWTH = 200 << 20
EVENTS = 10_000  # five vectors: DuckDB works on 2,048 rows at a time
LINE = "CUDA out of memory, tried to allocate 20 MiB on device 3. "


def _chain(times: int, step: str) -> str:
    stages = f" | extend a = {step}" * times
    return f"RunStatusChanged | extend a = RunId{stages} | summarize max(strlen(tostring(a)))"


CROSSED = "RunStatusChanged | extend k = 1 | join kind=inner (RunStatusChanged | extend k = 1) on k"
RANGES = "range i from 1 to 30000 step 1 | extend k = 1 | join kind=inner (range j from 1 to 30000 step 1 | extend k = 1) on k"
LONGEST = "summarize max(strlen(tostring(x)))"

BOMBS = {
    "a constant": "print x = replace_string(strrep(strrep('x', 1024), 1024), 'x', strrep('y', 1000))",
    "replace_string": f"RunStatusChanged | extend x = replace_string(strrep(RunId, 500), 'r', strrep('y', 500)) | {LONGEST}",
    "strrep": f"RunStatusChanged | extend x = strrep(strcat(RunId, strrep('y', 1000)), 1000) | {LONGEST}",
    "strcat": _chain(30, "strcat(a, a)"),
    "strcat_delim": _chain(30, "strcat_delim(a, a, a)"),
    "strcat of a long text": f"let c = strrep('x', 1000); RunStatusChanged | extend x = strcat(RunId, c, c, c, c, c, c, c, c) | {LONGEST}",
    "strcat of a long literal": f"let c = '{'x' * 20_000}'; RunStatusChanged | extend x = strcat(RunId, c, c) | {LONGEST}",
    "strcat_array": f"RunStatusChanged | extend x = strcat_array(split(strrep('a,', 1000), ','), '{'z' * 1000}') | {LONGEST}",
    "replace_regex": f"RunStatusChanged | extend x = replace_regex(strrep(Message, 9), '.', '{'z' * 1000}') | {LONGEST}",
    "replace_regex by groups": _chain(20, r"replace_regex(a, '(.*)', @'\1\1\1\1')"),
    "replace_string again and again": _chain(20, "replace_string(a, 'r', 'rrrr')"),
    "url_encode": _chain(30, "url_encode(strcat('%', a))"),
    "base64": _chain(60, "base64_encode_tostring(a)"),
    "pack_array": _chain(25, "pack_array(a, a)"),
    "bag_pack": _chain(20, "bag_pack('k', a, 'l', a, 'm', a)"),
    "escapes": _chain(25, "tostring(pack_array(strcat(a, '\"')))"),
    "array_concat": _chain(28, "array_concat(pack_array(a), pack_array(a))"),
    "zip": "RunStatusChanged | extend x = pack_array(RunId)" + " | extend x = zip(x, x)" * 25 + f" | {LONGEST}",
    "split": f"RunStatusChanged | extend x = split(strrep(strcat(RunId, ',a'), 1000), ',') | {LONGEST}",
    "extract_all": f"RunStatusChanged | extend x = extract_all('(.)', strrep(Message, 1000)) | {LONGEST}",
    "a format": f"RunStatusChanged | extend x = format_datetime(TimeGenerated, '{'yyyy-MM-dd ' * 2000}') | {LONGEST}",
    "many calls": "RunStatusChanged | extend " + ", ".join(f"a{i} = strrep(RunId, 1000)" for i in range(80)),
    "make_list": f"{CROSSED} | summarize make_list(Message)",
    "make_list by key": f"{CROSSED} | summarize make_list(strcat(RunId, RunId1)) by ExperimentName",
    "make_set": f"{CROSSED} | summarize make_set(strcat(RunId, RunId1))",
    "make_bag": "range i from 1 to 1000000 step 1 | summarize make_bag(bag_pack(tostring(i), i))",
    "percentile": f"{RANGES} | summarize percentile(i * j, 95)",
    "dcount": f"{RANGES} | summarize dcount(i * 30000 + j)",
    "sort": f"{CROSSED} | sort by RunId, RunId1 | take 3",
    "a long range": "range i from 1 to 1000000000 step 1 | count",
    "a join of everything": f"{RANGES} | summarize sum(i * j % 7)",
    "a regex for each row": "RunStatusChanged | where Message matches regex strcat('(', RunId, ')([a-z]{1,200}){1,2}[0-9]{500}') | count",
    "deep JSON": f"RunStatusChanged | extend x = parse_json(strcat(strrep('[', 1000), RunId, strrep(']', 1000))) | {LONGEST}",
    "a wide answer": f"RunStatusChanged | extend x = strcat({', '.join(['Message'] * 40)}) | take 10000",
}  # fmt: skip


class Feeding(threading.Thread):
    """Sends an event every 50 ms; what was not taken, and how long the slowest took."""

    def __init__(self, tocsin: Tocsin) -> None:
        super().__init__(daemon=True)
        self.tocsin, self.sent, self.slowest = tocsin, 0, 0.0
        self.refused: list[Answer | Gone] = []
        self.enough = threading.Event()

    def run(self) -> None:
        while not self.enough.wait(0.05):
            begun = time.monotonic()
            body = event("1", RunId=f"fed-{self.sent}", Status="Running") | {"id": f"fed-{self.sent}"}
            try:
                answer = self.tocsin.send(json.dumps([body]).encode())
            except Gone as gone:
                self.refused.append(gone)
            else:
                self.refused += [answer] if answer.status != 202 else []
            self.sent += 1
            self.slowest = max(self.slowest, time.monotonic() - begun)


class Watching(threading.Thread):
    """The peak of the process's memory, since it was last asked."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak = pid, 0
        self.enough = threading.Event()

    def run(self) -> None:
        while not self.enough.wait(0.005):
            self.peak = max(self.peak, self.now())

    def now(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module")
def bombed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tocsin]:
    """A tocsin with some thousand events."""
    home = tmp_path_factory.mktemp("bombed") / "home"
    home.mkdir()
    tocsin = Here(program=PROGRAM, home=home)
    tocsin.write(
        "tocsin.yaml", f"query: {{timeout: {TIMEOUT:g}s}}\nshipped: {{rules: false}}\nstore: {{memory_limit: 80MiB}}"
    )
    tocsin.start()
    for first in range(0, EVENTS, 2000):
        events = [
            event("1", RunId=f"run-{n}", Status="Running", ExperimentName=f"e{n % 7}", Message=LINE * 3)
            | {"id": str(n)}
            for n in range(first, first + 2000)
        ]
        assert 202 == tocsin.send(json.dumps(events).encode()).status
    yield tocsin
    tocsin.kill()


@pytest.mark.timeout(180)
def test_bombs(bombed: Tocsin) -> None:
    """All that went wrong with any of them is notified at once."""
    feeding, watching, wrong = Feeding(bombed), Watching(bombed.pid), []
    with httpx.Client(base_url=f"http://127.0.0.1:{bombed.port}", timeout=60, trust_env=False) as client:
        client.post("/api/v1/query", json={"query": "RunStatusChanged | count"})
        feeding.start()
        watching.start()
        for name, query in BOMBS.items():
            start = watching.peak = watching.now()
            begun = time.monotonic()
            answer = client.post("/api/v1/query", json={"query": query})
            took, grown = time.monotonic() - begun, watching.peak - start
            said = f"{name}: {answer.status_code} after {took:.1f} s, {grown >> 20} MiB more: {answer.text[:200]}"
            gave_way = answer.status_code == 429 and "events needed the memory" in answer.text  # which go first
            if not (gave_way or answer.status_code in (400, 504)) or took > TIMEOUT + 2 or grown > GROWTH:
                wrong.append(said)
    feeding.enough.set()
    feeding.join()
    watching.enough.set()
    assert [] == wrong
    assert [] == feeding.refused
    assert feeding.sent > 50
    assert feeding.slowest < 5
    assert feeding.sent == bombed.count("RunStatusChanged | where RunId startswith 'fed-'")
