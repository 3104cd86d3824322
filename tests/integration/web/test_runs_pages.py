"""Runs on pages: found, looked at, compared, tagged, described, canceled; by a phone without scripts, and with plots."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.lived import event
from tests.servers.browser import Browser
from tests.servers.eventually import eventually

SCRIPT = r"""
import pathlib, sys
from tocsin import Experiment, ScriptRunConfig, Workspace
ws = Workspace.create("lab", path=sys.argv[1], exist_ok=True)
exp = Experiment(ws, "curves")
PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082")
for n in range(2):
    with exp.start_logging(run_id=f"fit-{n}", snapshot_directory=None, tags={"team": f"Ranking {n}"}, properties={"lr": str(n), "same": "x"}) as run:
        for step in range(50):
            run.log("loss", (n + 1) / (step + 1), step=step)
        run.description = "A **bold** claim ![plot](outputs/plot.png) [table](outputs/t.csv) <script>alert(1)</script>"
        pathlib.Path("plot.png").write_bytes(PNG)
        run.upload_file("outputs/plot.png", "plot.png")
        child = run.child_run(name="fold", run_id=f"fold-{n}")
        child.log("loss", 3); child.log("loss", 4)
        with child.child_run(run_id=f"leaf-{n}"):
            pass
        child.complete()
pathlib.Path("slow.py").write_text("import threading\nprint('first line', flush=True)\nthreading.Event().wait(120)\n")
ws.folder.joinpath("src").mkdir(exist_ok=True)
pathlib.Path("slow.py").rename(ws.folder / "src" / "slow.py")
for _ in range(2):
    print(exp.submit(ScriptRunConfig(source_directory=str(ws.folder / "src"), script="slow.py")).id)
"""


@pytest.fixture(scope="module")
def going(running: Tocsin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Ids of two runs that go on, beside two that are over, of the workspace that the project directory is."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("TOCSIN_")} | {"TOCSIN_URL": running.url}
    here = tmp_path_factory.mktemp("training")
    made = subprocess.run(
        [sys.executable, "-c", SCRIPT, running.home], cwd=here, env=env, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    runs = made.stdout.split()

    def there() -> bool:
        with httpx.Client(base_url=running.url, trust_env=False) as client:
            return (
                all(client.get(f"/api/v1/runs/{run}").is_success for run in runs)
                and client.get("/api/v1/runs/fit-1").json()["run"]["Status"] == "Completed"
                and "50" in client.get("/runs/fit-1").text
                and "user_logs/std_log.txt" in client.get(f"/runs/{runs[0]}").text
            )

    eventually(there, within=30)
    yield runs
    with httpx.Client(base_url=running.url, trust_env=False) as client:
        client.post("/run/cancel", data={"run": runs})


@pytest.fixture(scope="module")
def slow(going: list[str]) -> str:
    """A run that goes on."""
    return going[0]


@pytest.fixture(scope="module")
def client(running: Tocsin, slow: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, trust_env=False, headers={"Accept": "text/html"}, timeout=30) as made:
        yield made


def listed(client: httpx.Client, query: str) -> list[str]:
    """Runs of a list, in its order."""
    page = client.get(f"/runs?{query}")
    assert 200 == page.status_code, page.text
    return [part.split('"', 1)[0] for part in page.text.split('name="run" value="')[1:]]


def test_a_list_is_filtered_searched_and_sorted(client: httpx.Client, slow: str) -> None:
    """Experiment, target and a tag's value need only contain what is asked; the search reads descriptions too."""
    assert ["fit-0", "fit-1"] == listed(client, "experiment=CURV&tag=team&sort=RunId")
    assert ["fit-1"] == listed(client, "tag=team%3Dranking+1")
    assert slow in listed(client, "status=Running&target=loc&workspace=lab")
    assert ["fit-1", "fit-0"] == listed(client, "q=CLAIM+!%5Bplot&sort=-RunId")
    assert ["fit-1"] == listed(client, "tag=team&tag=team%3Dranking+1") and [] == listed(
        client, "tag=team%3D0&tag=team%3D1"
    )
    assert {"fit-0", "fit-1", slow} == {
        id_
        for id_ in listed(client, "status=Completed&status=Running&sort=RunId&top=1&limit=1000")
        if id_ in ("fit-0", "fit-1", slow)
    }
    kept = client.get("/runs?tag=team&tag=x&status=Failed&sort=RunId").text
    assert 'name="tag" value="x"' in kept and "/runs?tag=team&amp;status=Failed&amp;sort=RunId" in kept.replace(
        "status=Failed&amp;tag=team", "tag=team&amp;status=Failed"
    )
    assert ["leaf-0"] == listed(client, "q=leaf-0") and [] == listed(client, "q=leaf-0&top=1")
    assert ["fit-0"] == listed(client, "q=bold&sort=RunId&limit=1")
    assert ["fit-1"] == listed(client, "q=bold&sort=RunId&limit=1&page=2")
    assert "A **bold** claim" in client.get("/runs?column=Description&tag=team").text
    for wrong in ("sort=Tags", "sort=nothing", "column=nothing", "page=0", "limit=9999"):
        assert 400 == client.get(f"/runs?{wrong}").status_code


def test_a_view_with_charts_is_saved_for_everybody(client: httpx.Client) -> None:
    address = "/runs?tag=team&chart=loss%2C+nothing&sort=RunId&column=Description"
    page = client.get(address)
    assert '<polyline class="c1 d0"' in page.text and "script-src 'self'" in page.headers["content-security-policy"]
    saved = client.post("/run/save-view", data={"name": "  team's   loss ", "back": address})
    assert (303, address) == (saved.status_code, saved.headers["location"])
    shown, here = client.get("/runs").text, client.get(address).text
    assert "team&#39;s loss</a>" in shown and 'aria-current="page">team&#39;s loss</a>' in here
    for wrong in (
        {"name": " ", "back": "/runs"},
        {"name": "x", "back": "/query?kql=x"},
        {"name": "x" * 81, "back": "/runs"},
    ):
        assert 400 == client.post("/run/save-view", data=wrong).status_code
    client.post("/run/remove-view", data={"name": "team's loss", "back": "/runs"})
    assert "team&#39;s loss" not in client.get("/runs").text
    assert "None of these runs has logged nothing." in client.get("/runs?chart=nothing").text


def test_an_address_puts_no_words_into_a_page(client: httpx.Client) -> None:
    """What a form did is said once, by a cookie that the server set: a link cannot make tocsin say anything."""
    pages = ("/runs", "/runs/fit-0", "/", "/open", "/subscriptions", "/consumers")
    assert all("Your session ended" not in client.get(f"{page}?said=Your+session+ended").text for page in pages)
    done = client.post("/run/tag", data={"run": "leaf-0", "back": "/runs?q=leaf-0"})
    assert "/runs?q=leaf-0" == done.headers["location"]
    assert "no run is selected" not in done.headers["location"]
    assert "Nothing was changed: write a tag" in client.get("/runs?q=leaf-0").text
    assert "Nothing was changed" not in client.get("/runs?q=leaf-0").text


def test_names_stand_first_and_ids_can_be_copied(client: httpx.Client) -> None:
    """In lists the run's name, else its experiment, is the link; the id stands small behind it."""
    page = client.get("/runs?q=fold-0&sort=RunId").text
    assert '<a class="name" href="/runs/fold-0">fold</a> <span class="id copied">fold-0</span>' in page
    assert (
        '<a class="name" href="/runs/fit-0">curves</a> <span class="id copied">fit-0</span>'
        in client.get("/runs?q=bold").text
    )


def test_axes_say_numbers_for_their_range(desk: Browser, running: Tocsin, slow: str) -> None:
    """As the page's own script writes them in a real browser."""
    desk.open(f"{running.url}/runs/fit-0")
    texts = desk.run(
        "const f = (...v) => labels(false)(null, v), t = (...v) => labels(true)(null, v);"
        "return [f(0, 200e6, 400e6), f(0, 1e-5, 2e-5), f(0, 2.5, 5), f(1.2e6, 1.25e6), f(0, 5000, 10000), f(0.9995, 1), t(0, 90, 3600, 5400, 172800)]"
    )
    assert [
        ["0", "200 M", "400 M"], ["0", "1e-5", "2e-5"], ["0", "2.5", "5.0"], ["1.20 M", "1.25 M"], ["0", "5 k", "10 k"], ["0.9995", "1.0000"],
        ["0 s", "1 min 30 s", "1 h", "1 h 30", "2 d"],
    ] == texts  # fmt: skip


def test_a_run_takes_one_line_and_the_day_is_a_picture(desk: Browser, running: Tocsin, slow: str) -> None:
    """40 px a run on a wide screen; a bar of the first page leads to the runs that it counts."""
    desk.open(f"{running.url}/runs")
    assert {40, 41} >= set(
        desk.run(
            "return [...document.querySelectorAll('tbody tr')].map(r => Math.floor(r.getBoundingClientRect().height))"
        )
    )
    with httpx.Client(base_url=running.url, trust_env=False) as client:
        links = re.findall(r'href="(/runs[?]status=[^"]+since[^"]+)"', client.get("/").text)
        assert links and "No run" not in client.get(html.unescape(links[-1])).text


def test_a_runs_page_moves_while_it_runs(desk: Browser, running: Tocsin) -> None:
    """State, log and alerts change by server-sent events, without another load; what the page holds open stays."""

    def said(id: str, **data: Any) -> None:
        sent = {**event(id, RunId="moves", ExperimentName="m", **data), "id": f"moves-{id}"}
        assert 202 == running.send(json.dumps([sent]).encode()).status

    said("8", Status="Running", LogTail="<b>one</b>")
    with httpx.Client(base_url=running.url, timeout=30, trust_env=False) as client:
        eventually(lambda: client.get("/runs/moves").status_code == 200, within=10)
        desk.open(f"{running.url}/runs/moves")
        desk.run("window.kept = true; document.querySelector('summary').click()")
        said("9", Status="Failed", Message="<i>out</i>", LogTail="two")
        eventually(lambda: "Failed" in desk.text("h1") and "<i>out</i>" == desk.text(".reason"), within=10)
        assert "two" == desk.text(".tail") and desk.run("return window.kept && document.querySelector('details').open")
        with client.stream("GET", "/live/run?run=moves&mark=old") as stream:
            lines = [line for line in stream.iter_lines() if line]
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert lines[0].startswith("data: ") and ["event: over", "data: over"] == lines[1:]
        assert 404 == client.get("/live/run?run=no-such-run").status_code


def test_a_list_is_saved_as_csv_and_goes_by_keys(client: httpx.Client, desk: Browser, running: Tocsin) -> None:
    """The view's filters, order and columns; no cell is a formula. j, k and x need no mouse."""
    table = client.get("/runs.csv?q=bold&sort=RunId&column=Description&column=Status&limit=1")
    assert table.headers["content-type"].startswith("text/csv") and "attachment" in table.headers["content-disposition"]
    rows = list(csv.reader(io.StringIO(table.text)))
    assert ["RunId", "Description", "Status"] == rows[0] and ["fit-0", "fit-1"] == [row[0] for row in rows[1:]]
    sent = {**event("10", RunId="formula", Status="Running", DisplayName="=1+1"), "id": "formula"}
    assert 202 == running.send(json.dumps([sent]).encode()).status
    eventually(lambda: "'=1+1" in client.get("/runs.csv?q=formula&column=DisplayName").text, within=10)
    desk.open(f"{running.url}/runs?q=bold&sort=RunId")
    key = "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: '%s', bubbles: true}));"
    desk.run("".join(key % each for each in "jjjkx"))
    assert ["fit-0"] == desk.run(
        "return [...document.querySelectorAll('input[name=run]:checked')].map(each => each.value)"
    )


def test_nine_runs_are_compared_and_the_bound_is_said(client: httpx.Client) -> None:
    nine = "&".join(f"run={id_}" for id_ in ("fit-0", "fit-1", "fold-0", "fold-1", "leaf-0", "leaf-1", "a", "b", "c"))
    assert "6 runs compared" in client.get(f"/compare?{nine}").text
    many = client.get("/compare?" + "&".join(f"run=r{n}" for n in range(21)))
    assert 400 == many.status_code and "at most 20 runs are compared at once; these are 21" in many.text


def test_the_api_filters_exactly(client: httpx.Client) -> None:
    def found(**asked: Any) -> list[str]:
        return [row["RunId"] for row in client.get("/api/v1/runs", params=asked).json()["runs"]]

    assert (
        ["fit-1"] == found(tag="team=Ranking 1") and [] == found(tag="team=Ranking") and [] == found(experiment="curv")
    )
    assert {"fit-0", "fit-1"} == set(found(tag=["team"], status=["Completed", "Failed"])) and [] == found(
        tag=["team", "nope"]
    )
    assert ["fold-0"] == found(parent="fit-0") and {"fit-0", "fit-1"} == set(found(search="claim", workspace="lab"))


def test_a_runs_page_shows_all_of_it(client: httpx.Client) -> None:
    page = client.get("/runs/fit-1").text
    for shown in (
        "A <strong>bold</strong> claim",
        "team=Ranking 1",
        "lr",
        "<polyline",
        "outputs/plot.png",
        "fold-1",
        "leaf-1",
    ):
        assert shown in page
    image = '<img src="/files?run=fit-1&amp;name=outputs%2Fplot.png" alt="plot" loading="lazy">'
    assert image in page and "<script>alert" not in page
    answer = client.get("/files?run=fit-1&name=outputs%2Fplot.png")
    assert ("image/png", "default-src 'none'; sandbox") == (
        answer.headers["content-type"],
        answer.headers["content-security-policy"],
    )


@pytest.mark.parametrize(
    "name", ["../../runs.sqlite", "/etc/passwd", "outputs", "", "nothing", "outputs/../../../config.json", "%00"]
)
def test_no_file_but_the_runs_own_is_read(client: httpx.Client, name: str) -> None:
    assert 404 == client.get(f"/files?run=fit-1&name={name}").status_code
    assert 404 == client.get(f"/files?run=../fit-1&name={name}").status_code


def test_a_log_goes_on_while_the_run_does(client: httpx.Client, slow: str) -> None:
    address = f"/logs/tail?run={slow}&name=user_logs%2Fstd_log.txt"
    eventually(lambda: client.get(f"{address}&from=0").text == "first line\n", within=10)
    more = client.get(f"{address}&from=11")
    assert ("", "11", "false") == (more.text, more.headers["x-next"], more.headers["x-over"])
    page = client.get(f"/logs?run={slow}&name=user_logs%2Fstd_log.txt").text
    assert "first line" in page and 'http-equiv="refresh"' in page


def test_another_sites_page_changes_nothing(client: httpx.Client) -> None:
    for verb in ("tag", "untag", "describe", "cancel"):
        answer = client.post(
            f"/run/{verb}", data={"run": "fit-0", "tag": "x", "text": "x"}, headers={"Origin": "https://evil.example"}
        )
        assert 403 == answer.status_code


def test_a_run_of_nobodys_workspace_is_tagged_and_described(client: httpx.Client, running: Tocsin) -> None:
    """Its tags are those of the event beside the new one; nobody says how it is canceled, and the page says so."""
    id_ = "from/a webhook?"
    sent = {**event("7", RunId=id_, Status="Running", Tags={"env": "prod"}), "id": "webhook-7"}
    assert 202 == running.send(json.dumps([sent]).encode()).status
    path = f"/runs/{quote(id_, safe='')}"
    eventually(lambda: client.get(path).status_code == 200, within=10)
    for verb, more in (("tag", {"tag": "seen=yes"}), ("describe", {"text": "*why* [x](javascript:alert(1))"})):
        answer = client.post(f"/run/{verb}", data={"run": id_, **more})
        assert (303, path) == (answer.status_code, answer.headers["location"].partition("?")[0])
    row = client.get("/api/v1/runs", params={"search": "from/a"}).json()["runs"][0]
    assert ({"env": "prod", "seen": "yes"}, "*why* [x](javascript:alert(1))") == (row["Tags"], row["Description"])
    shown = client.get(path).text
    assert "<em>why</em>" in shown and 'href="javascript' not in shown
    assert "does%20not%20say" in client.post("/run/cancel", data={"run": id_}).headers["set-cookie"]


def test_tags_and_cancel_in_the_list_by_a_thumb(
    running: Tocsin, phone: Browser, going: list[str], client: httpx.Client
) -> None:
    doomed = going[1]
    phone.open(f"{running.url}/runs?q={doomed}").press(f"input[name=run][value='{doomed}']")
    phone.write(".acts input[name=tag]", "checked").click("button[formaction='/run/tag']")
    assert "Tagged: 1 run." == phone.text("[role=status]") and "checked" in phone.text("table")
    phone.press(f"input[name=run][value='{doomed}']").click("button[formaction='/run/cancel']")
    assert f"{doomed}: cancel requested." == phone.text("[role=status]")
    eventually(lambda: client.get(f"/api/v1/runs/{doomed}").json()["run"]["Status"] == "Canceled", within=20)
    assert {"checked": ""} == client.get(f"/api/v1/runs/{doomed}").json()["run"]["Tags"]
    client.post("/run/untag", data={"run": doomed, "key": "check=ed"})  # as it stands: no key `check`
    client.post("/run/untag", data={"run": doomed, "key": "checked"})
    assert {} == client.get(f"/api/v1/runs/{doomed}").json()["run"]["Tags"]


def test_a_description_is_edited_in_place(running: Tocsin, phone: Browser, client: httpx.Client) -> None:
    phone.open(f"{running.url}/runs/fold-0").press("details summary").write("textarea", "# Kept\n\nnew *words*")
    phone.click("form[action='/run/describe'] button")
    assert "Described." == phone.text("[role=status]") and "new words" in phone.text(".prose")
    phone.write("form[action='/run/tag'] input[name=tag]", "owner=anna").click("form[action='/run/tag'] button")
    assert "owner=anna" in phone.text("form.tags")
    long = "x" * 3000  # its button stays within reach
    client.post("/run/tag", data={"run": "fold-0", "tag": f"owner={long}"})
    phone.open(f"{running.url}/runs/fold-0").click("button[value=owner]")
    assert "None yet." in phone.text() and "Tag removed: 1 run." == phone.text("[role=status]")


def test_runs_are_compared_with_and_without_scripts(
    running: Tocsin, client: httpx.Client, phone: Browser, desk: Browser
) -> None:
    """Without scripts a plot is an SVG; with them uPlot draws it, and its legend names the runs."""
    phone.open(f"{running.url}/runs?tag=team").press("input[value='fit-0']").press("input[value='fit-1']")
    phone.click("button[formaction='/compare']")
    assert "2 runs compared" == phone.text("h1") and phone.size("figure svg")[0] > 200
    desk.open(f"{running.url}/compare?run=fit-0&run=fit-1")
    eventually(lambda: "fit-1" in desk.text("figure .u-legend"), within=10)
    assert desk.size("figure canvas")[0] > 300
    counted = '"axis":"step","series":[{"run":"fit-0"', '{"run":"fold-0","color":1,"x":[0.0,1.0],"y":[3.0,4.0]}'
    page = html.unescape(client.get("/compare?run=fit-0&run=fold-0").text)  # fold-0 gave no steps
    assert all(part in page for part in counted), page
