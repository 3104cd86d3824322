"""What the log store knows around an alert, asked for a whole batch in a few queries, within a time bound."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from tocsin.clock import Clock, SystemClock, micros
from tocsin.logstore.interface import Ask, Limits, LogStore
from tocsin.model.intent import Intent, IntentKind
from tocsin.model.statuses import TERMINAL
from tocsin.model.text.causes import cause_of, one_line
from tocsin.notify.context import Change, Line, Nearby, RunAttempt
from tocsin.notify.render.links import web_link
from tocsin.notify.render.views import run_name
from tocsin.notify.stages.people import RunChange
from tocsin.notify.text import moment
from tocsin.notify.values import Facts, RunFacts

NEARBY = timedelta(minutes=30)
LONG_AGO = timedelta(days=30)
KEEP_SUCCESS = 60.0
"""Seconds for which an experiment's last success is not asked for again."""
HISTORY = 12
ATTEMPTS = 10
_MOMENTS = 60
_STEP = timedelta(seconds=60)


class FactsReader(Protocol):
    """Looks up what mails say besides the event."""

    def facts(self, intents: Sequence[Intent], seconds: float) -> Facts:
        """Facts by intent id, found in about ``seconds``; what could not be found out is left out. Raises
        StoreError, QueryError.
        """

    def changes(self, after: int | None) -> tuple[int, Sequence[RunChange]]:
        """(the newest commit, what of the commits beyond ``after`` may supersede alerts; nothing where that is None).
        Raises StoreError, QueryError.
        """


_SUPERSEDE_NONE = frozenset({"Failed", "Canceled"})
_CHANGES = """
SELECT RunId, JobKey, Attempt, Status, TimeGenerated FROM RunStatusChanged
WHERE CommitSeq > $after AND CommitSeq <= $head AND NOT list_contains($none::VARCHAR[], Status)
"""
_RUNS = """
SELECT RunId, JobKey, Attempt, Status, StartTime, EndTime, FirstTime, LastTime FROM ({runs})
WHERE LastTime >= $since
"""
_HISTORY = """
SELECT RunId, Status, Attempt, TimeGenerated FROM RunStatusChanged
WHERE RunId {among} AND TimeGenerated BETWEEN $first AND $last
ORDER BY TimeGenerated, CommitSeq
"""
_SUCCESS = """
SELECT ExperimentName, max(coalesce(EndTime, LastTime)) AS Last FROM Runs
WHERE Status = 'Completed' AND LastTime >= $since AND ExperimentName IN (SELECT unnest($experiments::VARCHAR[]))
GROUP BY ExperimentName
"""
_EXPIRED = """
SELECT a.RunId, a.T, r.ExperimentName, r.DisplayName, r.Status, r.Reason, r.Message, r.ErrorCode, r.Url, r.LastTime
FROM Alerts a LEFT JOIN Runs r ON a.RunId = r.RunId
WHERE a."To" = 'expired' AND a.Rule = $rule AND a.RunId <> '' AND a.T BETWEEN $began AND $at
ORDER BY r.LastTime DESC NULLS LAST, a.RunId LIMIT $most
"""
MOST_LINES = 1000
"""Runs of a backfill that its summary knows."""
_NEARBY_ONE = """
SELECT $last AS t, Target, count(DISTINCT RunId) AS n FROM RunStatusChanged
WHERE Status = 'Failed' AND TimeGenerated > $first AND TimeGenerated <= $last
GROUP BY Target
"""
"""As ``_NEARBY`` for one moment: nine mails in ten are of one, and to plan a join costs half of the time."""
_NEARBY = """
WITH moments AS (SELECT unnest($moments::TIMESTAMP[]) AS t),
failed AS (
    SELECT DISTINCT m.t, f.RunId, f.Target
    FROM RunStatusChanged f JOIN moments m ON f.TimeGenerated > m.t - INTERVAL 31 MINUTE AND f.TimeGenerated <= m.t
    WHERE f.Status = 'Failed' AND f.TimeGenerated BETWEEN $first AND $last
)
SELECT t, Target, count(DISTINCT RunId) AS n FROM failed GROUP BY t, Target
"""


class StoreFacts:
    """Facts out of the log store. Tries and successes older than 30 days are not looked for; successes are kept a
    minute.
    """

    def __init__(self, log: LogStore, clock: Clock | None = None) -> None:
        self._log, self._clock = log, clock or SystemClock()
        self._successes: dict[str, tuple[float, datetime | None]] = {}

    def facts(self, intents: Sequence[Intent], seconds: float) -> Facts:
        """Facts by intent id; at most four queries however many intents."""
        with self._log.asking(Limits(seconds=seconds, rows=50_000)) as ask:
            return self._found(intents, ask)

    def _found(self, intents: Sequence[Intent], ask: Ask) -> Facts:
        about = [i for i in intents if i.run_id]
        sums = {i.id: _expired(i, ask) for i in intents if i.kind is IntentKind.SUMMARY}
        if not about:
            return sums
        since = (min(_time_of(i) for i in about) - LONG_AGO).replace(tzinfo=None)
        jobs_sql, params = self._log.runs_of_jobs(sorted({_job_of(i) for i in about}))
        runs = ask(_RUNS.format(runs=jobs_sql), {**params, "since": since})
        runs.sort(key=lambda run: run["FirstTime"])
        history = _history(about, runs, ask)
        success = self._success({str(i.event.get("ExperimentName") or "") for i in about} - {""}, since, ask)
        nearby = _nearby(about, ask)
        by_job: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in runs:
            by_job[row["JobKey"]].append(row)
        found = {i.id: _of(i, history.get(i.run_id, []), by_job[_job_of(i)], success, nearby) for i in about}
        return {**found, **sums}

    def changes(self, after: int | None) -> tuple[int, Sequence[RunChange]]:
        """Statuses that runs have taken since."""
        head = self._log.head().seq
        if after is None or head <= after:
            return head, ()
        recent = self._log.recent_rows(after, head)
        if recent is None:
            limits = Limits(seconds=30, rows=1_000_000)
            asked = {"after": after, "head": head, "none": sorted(_SUPERSEDE_NONE)}
            recent = self._log.select(_CHANGES, asked, limits).to_pylist()
        return head, [
            RunChange(
                run_id=r["RunId"], job_key=r["JobKey"] or "", attempt=r["Attempt"] or 0, status=r["Status"],
                time_us=micros(r["TimeGenerated"].replace(tzinfo=UTC)),
            )
            for r in recent
            if r["Status"] not in _SUPERSEDE_NONE
        ]  # fmt: skip

    def _success(self, experiments: set[str], since: datetime, ask: Ask) -> Mapping[str, datetime]:
        now = self._clock.monotonic()
        if len(self._successes) > 10_000:
            self._successes.clear()
        fresh = {e: t for e, (at, t) in self._successes.items() if now - at < KEEP_SUCCESS}
        wanted = sorted(experiments - fresh.keys())
        if wanted:
            rows = ask(_SUCCESS, {"experiments": wanted, "since": since})
            found = {row["ExperimentName"]: moment(row["Last"]) for row in rows}
            self._successes.update((e, (now, found.get(e))) for e in wanted)
            fresh |= {e: found.get(e) for e in wanted}
        return {e: t for e, t in fresh.items() if t is not None}


def _expired(summary: Intent, ask: Ask) -> RunFacts:
    """The runs that a backfill's summary stands for."""
    began = moment(summary.occurrence) or summary.at
    span = {"began": began.replace(tzinfo=None), "at": summary.at.replace(tzinfo=None)}
    rows = ask(_EXPIRED, {"rule": summary.rule, "most": MOST_LINES, **span})
    return RunFacts(
        expired=tuple(
            Line(
                title=" ".join(
                    map(one_line, dict.fromkeys(filter(None, (run_name(row), row["RunId"], row["Status"]))))
                ),
                name=one_line(row["RunId"], 300),
                cause=one_line(cause_of(row), 120),
                severity=summary.severity.word,
                rule=summary.rule,
                url=web_link(row["Url"]),
                at=moment(row["LastTime"]) or moment(row["T"]) or summary.at,
            )
            for row in rows
        )
    )


def _history(about: Sequence[Intent], runs: Sequence[Mapping[str, Any]], ask: Ask) -> Mapping[str, list[Change]]:
    wanted = {i.run_id for i in about}
    mine = [r for r in runs if r["RunId"] in wanted and r["FirstTime"] is not None]
    if not mine:
        return {}
    found: dict[str, list[Change]] = defaultdict(list)
    span = {"first": min(r["FirstTime"] for r in mine), "last": max(r["LastTime"] for r in mine)}
    one = len(wanted) == 1
    asked = {"runs": next(iter(wanted)) if one else sorted(wanted), **span}
    among = "= $runs" if one else "IN (SELECT unnest($runs::VARCHAR[]))"
    for row in ask(_HISTORY.format(among=among), asked):
        at = moment(row["TimeGenerated"])
        if at is not None:
            found[row["RunId"]].append(Change(status=row["Status"], at=at, attempt=row["Attempt"] or 0))
    return found


def _nearby(about: Sequence[Intent], ask: Ask) -> Mapping[datetime, Mapping[str, int]]:
    moments = sorted({_minute(_time_of(i)) for i in about})[-_MOMENTS:]
    plain = [t.replace(tzinfo=None) for t in moments]
    span = {"first": plain[0] - NEARBY - _STEP, "last": plain[-1]}
    found: dict[datetime, dict[str, int]] = {t: {} for t in moments}
    asked, sql = ({**span, "moments": plain}, _NEARBY) if len(plain) > 1 else (span, _NEARBY_ONE)
    for row in ask(sql, asked):
        if (t := moment(row["t"])) in found:
            found[t][row["Target"] or ""] = row["n"]
    return found


def _job_of(intent: Intent) -> str:
    return str(intent.event.get("JobKey") or intent.run_id)


def _time_of(intent: Intent) -> datetime:
    return intent.event_time or intent.at


def _minute(t: datetime) -> datetime:
    """The next full minute: alerts of one burst share an evaluation at what failed nearby."""
    cut = t.astimezone(UTC).replace(second=0, microsecond=0)
    return cut if cut == t else cut + _STEP


def _of(
    intent: Intent, history: list[Change], job: list[dict[str, Any]], success: Mapping[str, datetime],
    nearby: Mapping[datetime, Mapping[str, int]],
) -> RunFacts:  # fmt: skip
    event = intent.event
    known = nearby.get(_minute(_time_of(intent)))
    near: Nearby | None = None
    if known is not None:
        own = 1 if event.get("Status") == "Failed" else 0
        target = str(event.get("Target") or "")
        near = Nearby(
            target=max(known.get(target, 0) - own, 0) if target else 0, everywhere=max(sum(known.values()) - own, 0)
        )
    changes = _changes(history)
    numbers = {c.attempt for c in history if c.attempt} | {r["Attempt"] for r in job if r["Attempt"]}
    attempts = [
        RunAttempt(
            run=r["RunId"], attempt=r["Attempt"] or n, status=r["Status"],
            started=moment(r["StartTime"]), ended=moment(r["EndTime"]),
        )
        for n, r in enumerate(job, 1)
    ] if len(job) > 1 else _attempts_in(intent.run_id, history)  # fmt: skip
    return RunFacts(
        history=tuple(changes[-HISTORY:]), more_history=max(len(changes) - HISTORY, 0),
        attempts=tuple(attempts[-ATTEMPTS:]) if len(attempts) > 1 else (),
        attempts_known=max([len(job) if len(job) > 1 else 0, *numbers], default=0),
        last_success=success.get(str(event.get("ExperimentName") or "")), nearby=near,
    )  # fmt: skip


def _changes(history: Sequence[Change]) -> list[Change]:
    """Without repeated words."""
    out: list[Change] = []
    for change in history:
        if not out or (change.status, change.attempt) != (out[-1].status, out[-1].attempt):
            out.append(change)
    return out


def _attempts_in(run_id: str, history: Sequence[Change]) -> list[RunAttempt]:
    """Tries that share one run id, distinguished by their number."""
    found: dict[int, list[Change]] = defaultdict(list)
    for change in history:
        if change.attempt:
            found[change.attempt].append(change)
    attempts = []
    for attempt, changes in sorted(found.items()):
        started = next((c.at for c in changes if c.status == "Running"), changes[0].at)
        ended = next((c.at for c in reversed(changes) if c.status in TERMINAL), None)
        attempts.append(
            RunAttempt(run=run_id, attempt=attempt, status=changes[-1].status, started=started, ended=ended)
        )
    return attempts
