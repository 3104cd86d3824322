"""What is open now, and acting on it from a phone: a real Chromium of 360 pixels, without JavaScript."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.lived import event
from tests.servers.browser import Browser
from tests.servers.eventually import eventually


class Opened:
    """Alerts of runs that a test has made fail."""

    def __init__(self, tocsin: Tocsin) -> None:
        self.tocsin = tocsin

    def fail(self, run: str, experiment: str) -> dict[str, Any]:
        number = sum(map(ord, run)) % 25
        failed = event(str(number), RunId=run, Status="Failed", ExperimentName=experiment, Message="CUDA out of memory")
        answer = self.tocsin.send(json.dumps([{**failed, "id": f"{run}-{number}"}]).encode())
        assert 202 == answer.status

        def routed() -> dict[str, Any]:
            found = [a for a in self.active() if a["RunId"] == run and a["Title"]]
            return found[0] if found else {}

        return eventually(routed, within=15)

    def active(self) -> list[dict[str, Any]]:
        return list(self.tocsin.get("/api/v1/alerts/active?limit=1000").body["alerts"])

    def close_all(self) -> None:
        with httpx.Client(base_url=self.tocsin.url, trust_env=False) as client:
            for alert in self.active():
                client.post(f"/api/v1/alerts/{alert['AlertId']}/close", json={"by": "test"})
        eventually(lambda: not self.active(), within=15)

    def whole(self, alert: dict[str, Any]) -> dict[str, Any]:
        return dict(self.tocsin.get(f"/api/v1/alerts/{alert['AlertId']}").body)


@pytest.fixture
def opened(running: Tocsin) -> Iterator[Opened]:
    """Nothing is open before, whatever other tests of the session left, and nothing is left for them."""
    made = Opened(running)
    made.close_all()
    yield made
    made.close_all()


def test_the_first_page_says_first_what_is_open_and_who_has_it(opened: Opened, phone: Browser) -> None:
    assert "Nothing is open" in phone.open(opened.tocsin.url).text("h1")
    opened.fail("r1", "churn")
    phone.open(opened.tocsin.url)
    assert "1 alert is open" == phone.text("h1")
    shown = phone.text("main section:first-of-type")
    assert "churn failed" in shown and "nobody" in shown and "r1" in shown


def test_a_page_that_is_looked_at_stays_fresh_but_not_under_somebodys_hands(opened: Opened, desk: Browser) -> None:
    """By htmx, each ten seconds and when somebody comes back to it, as here."""

    def come_back() -> None:
        desk.run("document.dispatchEvent(new Event('visibilitychange'))")

    def shows(title: str) -> None:
        def seen() -> bool:
            come_back()
            return desk.text("h1") == title

        eventually(seen, within=25, every=0.5)

    assert "Nothing is open" in desk.open(opened.tocsin.url).text("h1")
    opened.fail("live-1", "churn")
    shows("1 alert is open")
    desk.open(f"{opened.tocsin.url}/open").press("input[name=id]")  # somebody chooses it
    opened.fail("live-2", "other")
    come_back()
    desk.press("input[name=id]")  # still there, and chosen
    shows("2 open alerts")


def test_an_alert_is_acknowledged_with_one_name_and_one_press(opened: Opened, phone: Browser) -> None:
    """The name is kept for the next alert."""
    first, second = opened.fail("a1", "churn"), opened.fail("a2", "other")
    phone.open(f"{opened.tocsin.url}/").click(f"a[href='/alerts/{first['AlertId']}']")
    assert phone.size("form[action$=acknowledge] button")[1] >= 44  # a thumb's width
    assert phone.size("form[action$=acknowledge] button")[0] >= 280 and "CUDA out of memory" in phone.text(
        ".reason, h1"
    )
    phone.write("form[action$=acknowledge] input[name=by]", "anna").click("form[action$=acknowledge] button")
    assert phone.url.startswith(f"{opened.tocsin.url}/alerts/{first['AlertId']}")
    assert "Done." == phone.text("[role=status]")
    assert ("anna", "page") == (opened.whole(first)["AcknowledgedBy"], opened.whole(first)["Actions"][0]["Via"])
    assert "acknowledged by anna" in phone.text()
    assert "CUDA out of memory" in phone.text("table.pairs")  # the row for which it fired
    phone.open(f"{opened.tocsin.url}/alerts/{second['AlertId']}").enter("form[action$=acknowledge] input[name=by]")
    assert "anna" == opened.whole(second)["AcknowledgedBy"]


def test_several_are_acknowledged_at_once_and_silenced_by_what_they_have_in_common(
    opened: Opened, phone: Browser
) -> None:
    """Chosen are those that nobody has; who was first stays so. By the API too."""
    url = opened.tocsin.url
    ours = [opened.fail(run, "bulk") for run in ("k1", "k2", "k3")]
    opened.fail("k4", "other")
    with httpx.Client(base_url=url, trust_env=False) as client:
        first = {"ids": [ours[0]["AlertId"], "nothing"], "by": "bela"}
        said = client.post("/api/v1/alerts/acknowledge", json=first).json()
    assert (1, 1) == (said["Done"], said["NotDone"])
    phone.open(f"{url}/").click("a[href='/open']")
    assert "4 open alerts" == phone.text("h1")
    phone.write("input[name=search]", "bulk").click("form.filter button")
    assert "3 open alerts of 4" == phone.text("h1") and phone.size("html")[0] <= 360
    phone.write("input[name=by]", "anna").click("button[value=close]")
    assert "choose alerts" in phone.text("[role=status]")  # nothing is chosen before somebody chooses
    phone.click("a[href$='every=1']").click("button[value=acknowledge]")
    assert "2 acknowledged." == phone.text("[role=status]")
    assert ["bela", "anna", "anna"] == [opened.whole(one)["AcknowledgedBy"] for one in ours]
    for row in ours:
        phone.press(f"input[value='{row['AlertId']}']")
    phone.click("button[value=silence]")
    assert "It hides 3 alerts now" in phone.text()
    with httpx.Client(base_url=url, trust_env=False) as client:
        odd = client.post("/open", data={"verb": "burn", "by": "anna"})
        foreign = client.post("/open", data={"verb": "close"}, headers={"Origin": "https://evil.example"})
        none = client.post("/open", data={"verb": "silence"})
        live, chosen = client.get("/open").text, client.get("/open?every=1").text
        sent = client.get("/api/v1/notifications?limit=1&state=sent").json()["notifications"][0]
        once_more = client.post(f"/notifications/{sent['Delivery']}/resend")
        nothing = client.post("/notifications/nothing/resend")
        made = client.get(f"/api/v1{once_more.headers['location']}").json()
    assert (303, sent["Subject"], 404) == (once_more.status_code, made["Subject"], nothing.status_code)
    assert "hx-get" in live and "hx-get" not in chosen  # what opens meanwhile is not chosen unseen
    assert (400, 403) == (odd.status_code, foreign.status_code)
    assert "choose%20alerts" in none.headers["set-cookie"]


def test_a_group_is_acknowledged_as_a_whole(opened: Opened, phone: Browser) -> None:
    """Its active alerts, not those of other groups."""
    first, second, other = (
        opened.fail("whole-1", "churn"),
        opened.fail("whole-2", "churn"),
        opened.fail("whole-3", "calm"),
    )
    phone.open(f"{opened.tocsin.url}/alerts/{first['AlertId']}")
    phone.write("h2 ~ form.act input[name=by]", "anna").click("h2 ~ form.act button")
    assert "2 acknowledged." == phone.text("[role=status]")
    assert ["anna", "anna", None] == [opened.whole(one)["AcknowledgedBy"] for one in (first, second, other)]
    third = opened.fail("whole-4", "churn")
    with httpx.Client(base_url=opened.tocsin.url, trust_env=False) as client:
        asked = {"ids": [first["AlertId"]], "by": "bela", "groups": True}
        answer = client.post("/api/v1/alerts/acknowledge", json=asked).json()
    assert (1, 2, [third["AlertId"]]) == (answer["Done"], answer["NotDone"], answer["Changed"])


def test_who_is_second_sees_who_was_first(opened: Opened, phone: Browser) -> None:
    one = opened.fail("b1", "churn")
    phone.open(f"{opened.tocsin.url}/alerts/{one['AlertId']}")
    with httpx.Client(base_url=opened.tocsin.url, trust_env=False) as client:
        client.post(f"/api/v1/alerts/{one['AlertId']}/acknowledge", json={"by": "bela"})
    phone.write("form[action$=acknowledge] input[name=by]", "anna").click("form[action$=acknowledge] button")
    assert "bela has it already" in phone.text("[role=status]")


def test_an_alert_is_assigned_and_its_timeline_says_so(opened: Opened, phone: Browser) -> None:
    one = opened.fail("c1", "churn")
    phone.open(f"{opened.tocsin.url}/alerts/{one['AlertId']}").press("summary")
    phone.write("form[action$=assign] input[name=text]", "bela")
    phone.write("form[action$=assign] input[name=by]", "anna").click("form[action$=assign] button")
    assert "assigned by anna" in phone.text("table.timeline")
    eventually(lambda: opened.whole(one)["AssignedTo"] == "bela", within=10)
    shown = phone.open(f"{opened.tocsin.url}/").text("main section:first-of-type")
    assert "bela assigned" in " ".join(shown.split())


def test_a_silence_says_what_it_hides_before_it_is_set(opened: Opened, phone: Browser) -> None:
    one = opened.fail("d1", "quiet-one")
    opened.fail("d2", "other")
    phone.open(f"{opened.tocsin.url}/alerts/{one['AlertId']}").click("form[action$=silence] button")
    assert "It hides 1 alert now" in phone.text()
    assert 'rule="run-failed", ExperimentName="quiet-one"' in json.dumps(
        opened.tocsin.get(f"/alerts/{one['AlertId']}/silence").body
    ).replace("&#34;", '"').replace('\\"', '"')
    phone.write("input[name=comment]", "we know").write("input[name=by]", "anna").click("form.one button")
    assert "Silenced." == phone.text("[role=status]")
    assert "quiet-one" in phone.open(f"{opened.tocsin.url}/silences").text()
    assert ["anna"] == [s["By"] for s in opened.tocsin.get("/api/v1/silences").body["silences"]]
    phone.click("form[action$=expire] button")
    assert [] == opened.tocsin.get("/api/v1/silences").body["silences"]


def test_pages_fit_a_phone(opened: Opened, phone: Browser) -> None:
    """Nothing is wider than the screen, not even a text without a space; a screen reader has a name for each control."""
    one = opened.fail("e1", "an_experiment_" + "x" * 200)
    paths = [
        "/",
        "/open",
        f"/alerts/{one['AlertId']}",
        f"/alerts/{one['AlertId']}/silence",
        "/silences",
        "/subscriptions",
    ]
    for path in [*paths, "/notifications", "/query"]:
        assert phone.open(f"{opened.tocsin.url}{path}").size("main")[0] <= 360
        assert phone.size("html")[0] <= 360
        assert [] == phone.unnamed(), path


def test_a_page_of_another_site_acts_on_nothing(opened: Opened) -> None:
    one = opened.fail("f1", "churn")
    with httpx.Client(base_url=opened.tocsin.url, trust_env=False) as client:
        foreign = client.post(
            f"/alerts/{one['AlertId']}/acknowledge", data={"by": "mallory"}, headers={"Origin": "https://evil.example"}
        )
        nowhere = client.post(f"/alerts/{one['AlertId']}/acknowledge", data={"by": "anna", "back": "//evil.example"})
        odd = client.post(f"/alerts/{one['AlertId']}/snooze", data={"by": "anna", "for": "soon"})
    nobody = httpx.post(f"{opened.tocsin.url}/alerts/{one['AlertId']}/comment", data={"text": "x"}, trust_env=False)
    assert (403, 303, 400) == (foreign.status_code, nowhere.status_code, odd.status_code)
    assert "/" == nowhere.headers["location"]
    assert 400 == nobody.status_code
    assert "anna" == opened.whole(one)["AcknowledgedBy"]


def test_the_calendar_says_who_is_on_call_and_marks_gaps(opened: Opened, phone: Browser) -> None:
    """Four weeks by schedule; hours that nobody covers say so in words."""
    calendar = opened.tocsin.get("/api/v1/oncall?weeks=4").body["schedules"]
    primary, always = calendar
    assert (28, "UTC", ["bela"]) == (len(primary["Days"]), primary["Timezone"], always["OnCall"])
    assert [("", "08:00", []), ("08:00", "20:00", ["anna"]), ("20:00", "", [])] == [
        (part["From"], part["To"], part["Who"]) for part in primary["Days"][1]["Parts"]
    ]
    assert [("", "", ["bela"], False)] == [(p["From"], p["To"], p["Who"], p["Gap"]) for p in always["Days"][0]["Parts"]]
    shown = phone.open(f"{opened.tocsin.url}/oncall").text()
    assert "always: bela now" in shown and "nobody 00:00–08:00" in " ".join(shown.split())
    assert phone.size("html")[0] <= 360
    assert 400 == opened.tocsin.get("/api/v1/oncall?weeks=0").status


def test_the_report_says_who_was_paged_and_how_soon_alerts_were_taken(opened: Opened, phone: Browser) -> None:
    one = opened.fail("g1", "paged")

    def row() -> dict[str, Any]:
        people = opened.tocsin.get("/api/v1/oncall/report?weeks=1").body["People"]
        return next((p for p in people if p["Person"] == "bela"), {})

    eventually(lambda: row().get("Pages") == 1, within=10)
    with httpx.Client(base_url=opened.tocsin.url, trust_env=False) as client:
        client.post(f"/api/v1/alerts/{one['AlertId']}/acknowledge", json={"by": "bela"})
    eventually(lambda: row()["Acknowledged"] >= 1, within=10)
    assert (1, True) == (row()["Pages"], row()["TimeToAcknowledge"]["Median"] > 0)
    shown = phone.open(f"{opened.tocsin.url}/oncall").click("a[href='/oncall/report']").text()
    assert "bela" in shown and "run-failed" in shown
    assert phone.size("html")[0] <= 360


def test_a_dead_letter_is_sent_through_again_from_its_page(opened: Opened, phone: Browser) -> None:
    """Its payload is a text, whatever stands in it; consumers show what they have."""
    url = opened.tocsin.url
    opened.tocsin.send(json.dumps([{**event("7", RunId="<b>x</b>"), "id": "dead-1"}]).encode())
    eventually(lambda: opened.tocsin.get("/api/v1/dead-letters").body["dead_letters"])
    shown = phone.open(f"{url}/consumers").press("td details summary").text("td pre")
    assert "<b>x</b>" in shown and "events" in phone.text() and phone.size("html")[0] <= 360
    phone.click("td form button")
    assert "replayed 1, dead 1" in phone.text("[role=status]")
    with httpx.Client(base_url=url, trust_env=False) as client:
        odd = client.post("/consumers/replay", data={"id": "x"})
        foreign = client.post("/consumers/replay", headers={"Origin": "https://evil.example"})
    assert (400, 403) == (odd.status_code, foreign.status_code)


def test_failures_per_hour_are_a_plot_and_a_table_without_scripts(opened: Opened, phone: Browser) -> None:
    opened.fail("h1", "churn")
    phone.open(f"{opened.tocsin.url}/charts")
    assert phone.size("figure.plot svg")[0] > 200 and phone.size("html")[0] <= 360
    failed = phone.press("summary").text("table tbody tr:first-of-type td:nth-of-type(2)")
    assert int(failed) >= 1
    assert 400 == opened.tocsin.get("/charts?hours=5").status
    policy = httpx.get(f"{opened.tocsin.url}/charts", trust_env=False).headers["content-security-policy"]
    assert "script-src 'self'" in policy  # or the scripts that it links would be blocked


def mails_to(tocsin: Tocsin, address: str) -> list[str]:
    return [
        m["Subject"] for m in tocsin.get(f"/api/v1/notifications?address={address}&limit=100").body["notifications"]
    ]


def test_who_subscribes_to_an_experiment_is_mailed_until_it_ends(opened: Opened, phone: Browser) -> None:
    """Beside those who are notified anyway; who is one of them gets one mail. Set and ended on a page."""
    url = opened.tocsin.url
    phone.open(f"{url}/subscriptions").write("input[name=experiment]", "subbed")
    phone.write("input[name=by]", "dora@example.org").click("form[action='/subscriptions'] button")
    assert 'ExperimentName="subbed"' in phone.text("table")
    with httpx.Client(base_url=url, trust_env=False) as client:
        anna = {"address": "anna@example.org", "matchers": 'ExperimentName="subbed", Status="Failed"', "by": "anna"}
        assert 200 == client.post("/api/v1/subscriptions", json=anna).status_code
        assert 200 == client.post("/api/v1/subscriptions", json=anna).status_code
        for wrong in ({"matchers": "x"}, {"matchers": 'a=~".*"'}, {"address": "nobody"}, {"to": "2020-01-01T00:00Z"}):
            assert 400 == client.post("/api/v1/subscriptions", json={**anna, **wrong}).status_code
    before = len(mails_to(opened.tocsin, "anna@example.org"))
    opened.fail("i1", "subbed")
    assert ["subbed failed"] == [s[:13] for s in eventually(lambda: mails_to(opened.tocsin, "dora@example.org"))]
    opened.fail("i2", "calm")
    eventually(lambda: len(mails_to(opened.tocsin, "anna@example.org")) >= before + 2)
    assert before + 2 == len(mails_to(opened.tocsin, "anna@example.org"))
    assert 1 == len(mails_to(opened.tocsin, "dora@example.org"))

    def subscribed() -> list[dict[str, Any]]:
        found = opened.tocsin.get("/api/v1/subscriptions").body["subscriptions"]
        return [p for p in found if p["Kind"] == "subscribe"]

    assert ["anna@example.org", "dora@example.org"] == [p["Address"] for p in subscribed()]
    for each in subscribed():
        phone.open(f"{url}/subscriptions").click(f"form[action='/subscriptions/{each['Id']}/end'] button")
    assert [] == subscribed()
    ended = opened.tocsin.get("/api/v1/subscriptions?ended=true").body["subscriptions"]
    assert {"dora@example.org", "anna@example.org"} <= {p["Address"] for p in ended if p["EndedAt"]}


def test_an_alert_is_muted_for_me_on_its_page(opened: Opened, phone: Browser) -> None:
    """By a person's name her address is meant; her route does not mail her about this experiment any more."""
    one = opened.fail("j1", "too-loud")
    phone.open(f"{opened.tocsin.url}/alerts/{one['AlertId']}").press("summary")
    phone.write("form[action$=mute] input[name=by]", "anna").click("form[action$=mute] button")
    assert "anna is mailed about too-loud no more" in phone.text("[role=status]")
    opened.fail("j2", "too-loud")
    opened.fail("j3", "calm")
    eventually(lambda: "calm failed" in str(mails_to(opened.tocsin, "anna@example.org")))
    assert 1 == str(mails_to(opened.tocsin, "anna@example.org")).count("too-loud failed")
