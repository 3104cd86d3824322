"""alerts ack|snooze|assign|…, silence: what people do. By HTTP where tocsin runs, else on its files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from tocsin.cli.common import HERE, AsJson, HomeOption, fail, open_home, print_json, say, show

silence = typer.Typer(no_args_is_help=True, help="Silences: alerts that nobody is notified of for a time.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The alert (the beginning is enough): see alerts list --open.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="The alerts (the beginning is enough).")]
ByOption = Annotated[
    str, typer.Option("--by", envvar="TOCSIN_USER", metavar="WHO", help="Who does it: a name or an address.")
]
Matchers = Annotated[
    list[str], typer.Argument(metavar="MATCHER...", help="rule=run-failed ExperimentName=~churn.*: all of these.")
]
_SILENCE = ("SilenceId", "State", "Matchers", "From", "To", "By", "Comment")
OPEN = ("AlertId", "Severity", "Rule", "RunId", "Title", "Since", "AcknowledgedBy", "Suppressed")


class _Asked:
    """The same questions to a tocsin that runs, or to the files."""

    def __init__(self, remote: Any, acting: Any) -> None:
        self._remote, self._acting = remote, acting

    def active(self, limit: int) -> list[dict[str, Any]]:
        if self._remote is not None:
            found = self._remote.ask("GET", "/api/v1/alerts/active", params={"limit": limit}).json()["alerts"]
            return list(found)
        return self._plain(self._acting.alerts(limit=limit))

    def whole(self, id: str) -> dict[str, Any] | None:
        from tocsin.app.views.acting import NoSuchAlert

        if self._remote is not None:
            answer = self._remote.ask("GET", f"/api/v1/alerts/{_quoted(id)}", missing=True)
            return None if answer.status_code == 404 else dict(answer.json())
        try:
            return self._plain([self._acting.alert(id)])[0]
        except NoSuchAlert:
            return None

    def act(self, verb: str, id: str, by: str, until: datetime | None, text: str) -> dict[str, Any]:
        if self._remote is not None:
            body = {"by": by, "to" if verb == "assign" else "comment": text}
            if until is not None:
                body["until"] = until.isoformat()
            answer = self._remote.ask("POST", f"/api/v1/alerts/{_quoted(id)}/{verb}", missing=True, json=body)
            if answer.status_code == 404:
                fail(str(answer.json().get("detail", "there is no such alert")), "tocsin alerts list --open")
            return dict(answer.json())
        from tocsin.model.active import ActionKind

        found = self._acting.act(ActionKind(verb), id, by, until=until, text=text, via="cli")
        return self._plain([found])[0]

    def resend(self, id: str) -> dict[str, Any]:
        if self._remote is not None:
            answer = self._remote.ask("POST", f"/api/v1/notifications/{_quoted(id)}/resend")
            return dict(answer.json())
        from tocsin.web import mailview

        return self._plain([mailview.row(self._acting.resend(id))])[0]

    def silences(self, expired: bool) -> list[dict[str, Any]]:
        if self._remote is not None:
            params = {"expired": str(expired).lower()}
            return list(self._remote.ask("GET", "/api/v1/silences", params=params).json()["silences"])
        return self._plain(self._acting.silences(expired=expired))

    def add(self, matchers: str, end: datetime, by: str, comment: str) -> dict[str, Any]:
        if self._remote is not None:
            body = {"matchers": matchers, "to": end.isoformat(), "by": by, "comment": comment}
            return dict(self._remote.ask("POST", "/api/v1/silences", json=body).json())
        return self._plain([self._acting.add_silence(matchers, None, end, by, comment, via="cli")])[0]

    def expire(self, id: str, by: str) -> dict[str, Any]:
        if self._remote is not None:
            answer = self._remote.ask("POST", f"/api/v1/silences/{_quoted(id)}/expire", params={"by": by})
            return dict(answer.json())
        return self._plain([self._acting.expire_silence(id, by=by, via="cli")])[0]

    def preview(self, matchers: str) -> dict[str, Any]:
        if self._remote is not None:
            return dict(self._remote.ask("POST", "/api/v1/silences/preview", json={"matchers": matchers}).json())
        return self._plain([self._acting.preview(matchers)])[0]

    def preferences(self, ended: bool) -> list[dict[str, Any]]:
        if self._remote is not None:
            params = {"ended": str(ended).lower()}
            return list(self._remote.ask("GET", "/api/v1/subscriptions", params=params).json()["subscriptions"])
        return self._plain(self._acting.preferences(ended=ended))

    def prefer(self, kind: str, address: str, matchers: str, by: str, until: datetime | None) -> dict[str, Any]:
        if self._remote is not None:
            body = {"kind": kind, "address": address, "matchers": matchers, "by": by}
            body |= {"to": until.isoformat()} if until is not None else {}
            return dict(self._remote.ask("POST", "/api/v1/subscriptions", json=body).json())
        from tocsin.model.active import PreferenceKind

        made = self._acting.prefer(PreferenceKind(kind), address, matchers, by=by, via="cli", until=until)
        return self._plain([made])[0]

    def take_back(self, id: str, by: str) -> dict[str, Any]:
        if self._remote is not None:
            answer = self._remote.ask("POST", f"/api/v1/subscriptions/{_quoted(id)}/end", params={"by": by})
            return dict(answer.json())
        return self._plain([self._acting.take_back(id, by=by, via="cli")])[0]

    @staticmethod
    def _plain(rows: Any) -> list[dict[str, Any]]:
        import json

        from tocsin.web.answers import encode

        out: list[dict[str, Any]] = json.loads(encode(list(rows)))
        return out


@contextmanager
def acting(home: Path) -> Iterator[_Asked]:
    """Act on ``home``, running or not."""
    from tocsin.cli.client import remote

    place = open_home(home)
    if (found := remote(place)) is not None:
        with found.client:
            yield _Asked(found, None)
        return
    from tocsin.app.project.stores import open_state
    from tocsin.app.views.acting import Acting
    from tocsin.clock import SystemClock

    clock = SystemClock()
    with place.lock():
        state = open_state(place, place.settings(), clock)
        try:
            yield _Asked(None, Acting(state=state, clock=clock, may_mail=place.settings().smtp.allows))
        finally:
            state.close()


# -- alerts ------------------------------------------------------------------------------------------------------------


def _act(
    home: Path, verb: str, id: str | list[str], by: str, as_json: bool, until: datetime | None = None, text: str = ""
) -> None:
    """To one alert or several: a list of several is JSON too."""
    if not by:
        fail("it is not said who does it", "add --by anna, or set TOCSIN_USER", 2)
    ids = [id] if isinstance(id, str) else id
    with acting(home) as asked:
        found = [asked.act(verb, each, by, until, text) for each in dict.fromkeys(ids)]
    if as_json:
        print_json(found[0] if len(found) == 1 else found)
        return
    for each in found:
        say(f"{each['AlertId']}: {_did(each, verb, by, text)}")


def _did(found: dict[str, Any], verb: str, by: str, text: str) -> str:
    if not found["Done"]:
        first = found["AcknowledgedBy"]
        return f"{first} has it already" if first and not found["EndedAt"] else "it has ended"
    said = {"acknowledge": f"acknowledged by {by}", "unacknowledge": "let go", "close": "closed",
            "snooze": f"snoozed until {found['Until']}", "assign": f"assigned to {text}"}  # fmt: skip
    return said.get(verb, "noted")


def alerts_ack(ids: Ids, by: ByOption = "", home: HomeOption = HERE, as_json: AsJson = False) -> None:
    """Acknowledge alerts: repeats and escalations stop."""
    _act(home, "acknowledge", ids, by, as_json)


def alerts_unack(id: Id, by: ByOption = "", home: HomeOption = HERE, as_json: AsJson = False) -> None:
    """Let an alert go that was acknowledged."""
    _act(home, "unacknowledge", id, by, as_json)


def alerts_snooze(
    id: Id,
    for_: Annotated[str, typer.Option("--for", metavar="DURATION", help="For how long: 30m, 2h, 1d.")],
    by: ByOption = "",
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Acknowledge an alert for a time."""
    _act(home, "snooze", id, by, as_json, until=now_utc() + length_of(for_))


def alerts_assign(
    id: Id,
    to: Annotated[str, typer.Option("--to", metavar="WHO", help="Whose it is now.")],
    by: ByOption = "",
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Say whose an alert is."""
    _act(home, "assign", id, by, as_json, text=to)


def alerts_comment(
    id: Id,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The comment.")],
    by: ByOption = "",
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Write a comment to an alert's history."""
    _act(home, "comment", id, by, as_json, text=text)


def alerts_close(id: Id, by: ByOption = "", home: HomeOption = HERE, as_json: AsJson = False) -> None:
    """Close an alert."""
    _act(home, "close", id, by, as_json)


# -- silences ----------------------------------------------------------------------------------------------------------


@silence.command("add")
def silence_add(
    matchers: Matchers,
    for_: Annotated[str, typer.Option("--for", metavar="DURATION", help="For how long: 2h, 1d.")],
    comment: Annotated[str, typer.Option("--comment", metavar="TEXT", help="Why.")],
    by: ByOption = "",
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Silence alerts that all matchers match, from now on."""
    if not by:
        fail("it is not said who sets it", "add --by anna, or set TOCSIN_USER", 2)
    with acting(home) as asked:
        made = asked.add(joined(matchers), now_utc() + length_of(for_), by, comment)
        hides = asked.preview(joined(matchers))
    show([made], _SILENCE, as_json, "")
    if not hides["Now"] and not hides["Last7Days"]:
        say("note: it hides nothing now, and would have hidden nothing of the last 7 days")


@silence.command("list")
def silence_list(
    expired: Annotated[bool, typer.Option("--expired", help="Those that are over too.")] = False,
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """List silences that people set. Those of rules/oncall stand in its files."""
    with acting(home) as asked:
        rows = asked.silences(expired)
    show(rows, _SILENCE, as_json, "No silences.")


@silence.command("expire")
def silence_expire(
    id: Annotated[str, typer.Argument(metavar="ID", help="Which one (the beginning is enough).")],
    by: ByOption = "",
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """End a silence now."""
    with acting(home) as asked:
        ended = asked.expire(id, by)
    show([ended], _SILENCE, as_json, "")


@silence.command("preview")
def silence_preview(matchers: Matchers, home: HomeOption = HERE, as_json: AsJson = False) -> None:
    """Show what a silence would hide now, and would have hidden in the last 7 days."""
    with acting(home) as asked:
        found = asked.preview(joined(matchers))
    if as_json:
        print_json(found)
        return
    show(found["Now"], OPEN, False, "It hides no active alert.")
    say(f"{found['Last7Days']} of the last 7 days")


def joined(matchers: list[str]) -> str:
    """Each argument one matcher of Alertmanager's syntax; a value may stand without quotes."""
    import json
    import re

    out = []
    for text in matchers:
        found = re.fullmatch(r"\s*([^=!~\s]+)\s*(=~|!=|!~|=)\s*(.*)", text, re.DOTALL)
        if found is None:
            fail(f"'{text}' is no matcher", "write for example rule=run-failed", 2)
        value = found[3]
        quoted = value if len(value) > 1 and value[0] == value[-1] == '"' else json.dumps(value, ensure_ascii=False)
        out.append(f"{found[1]}{found[2]}{quoted}")
    return ", ".join(out)


def length_of(text: str) -> timedelta:
    """The length of time that is said. Ends with 2 for what is none."""
    from tocsin.config.yaml.durations import parse_duration

    try:
        found = parse_duration(text)
    except ValueError as e:
        fail(str(e), "write for example 2h", 2)
    if found <= timedelta(0):
        fail(f"'{text}' is no time ahead", "write for example 2h", 2)
    return found


def now_utc() -> datetime:
    """The time now."""
    from tocsin.clock import SystemClock

    return SystemClock().now().astimezone(UTC)


def _quoted(id: str) -> str:
    from urllib.parse import quote

    return quote(id, safe="")
