"""Webhooks: 202 only when durable, every refusal says what would be right."""

import asyncio
import base64
import gzip
import json
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from starlette.applications import Starlette

from tests.integration.intake.behind import Ask, Behind, asker
from tests.servers.eventually import eventually
from tocsin.clock import SystemClock
from tocsin.errors import StoreError, StoreFull, StoreLost
from tocsin.intake.connectors.base import Sink
from tocsin.intake.connectors.http import FIRST_PART, MANY, HttpIntake, HttpLimits
from tocsin.intake.consumer import Consumer, load_consumers
from tocsin.intake.watermark import GraceWatermark
from tocsin.metrics.registry import Metrics
from tocsin.model.event import Batch, Receipt


def event(run: str = "r1", status: str = "Running", **more: Any) -> dict[str, Any]:
    data = {"RunId": run, "Status": status}
    given = {"id": f"{run}-{status}", "source": "s", "time": "2026-11-23T12:00:00Z", **more}
    return {"specversion": "1.0", "type": "tocsin.run.status", "data": data, **given}


def counts(answer: httpx.Response) -> tuple[int, int, int, int, int]:
    body = answer.json()
    return answer.status_code, body["accepted"], body["duplicate"], body["heartbeats"], body["dead"]


LINES = "\n".join(json.dumps(event(run)) for run in ("a", "b")).encode()
BEAT = {"type": "tocsin.run.heartbeat", "source": "s", "data": {"RunId": "r1", "Progress": 0.5}}


@pytest.mark.parametrize(
    ("content", "kind", "expected"),
    [
        (json.dumps(event()), "application/json", (202, 1, 0, 0, 0)),
        (json.dumps(event()), "application/cloudevents+json; charset=UTF-8", (202, 1, 0, 0, 0)),
        (json.dumps(event()), "application/x-www-form-urlencoded", (202, 1, 0, 0, 0)),
        (json.dumps([event("a"), event("b"), event("a")]), "application/cloudevents-batch+json", (202, 2, 1, 0, 0)),
        (LINES, "application/x-ndjson", (202, 2, 0, 0, 0)),
        (json.dumps(BEAT), "application/json", (202, 0, 0, 1, 0)),
        (json.dumps([event("a"), {"type": "other"}, 17]), "application/json", (202, 1, 0, 0, 2)),
        (json.dumps(event()).encode()[:-1] + b', "x": NaN}', "application/json", (202, 0, 0, 0, 1)),
        (LINES + b"\nnonsense", "text/plain", (202, 2, 0, 0, 1)),
        ("[]", "application/json", (202, 0, 0, 0, 0)),
    ],
)
def test_what_is_taken_is_durable_and_counted(
    behind: Behind, ask: Ask, content: str | bytes, kind: str, expected: tuple[int, ...]
) -> None:
    """One event, an array, lines, heartbeats; dead letters are kept too."""
    answer = ask("POST", "events", content=content, headers={"content-type": kind})
    assert expected == counts(answer)
    assert (expected[1], expected[4]) == (behind.count(), behind.count("DeadLetters"))


def test_an_answer_names_what_is_no_column(behind: Behind, ask: Ask) -> None:
    """A misspelt column is found by its sender's developer, and counted."""
    sent = event("r1")
    sent["data"]["Experiment"] = "churn"
    assert ["Experiment"] == ask("POST", "events", json=sent).json()["unknown_columns"]
    assert "unknown_columns" not in ask("POST", "events", json=event("r2")).json()
    assert 2 == behind.count()


def test_an_answer_names_words_that_are_no_status(behind: Behind, ask: Ask) -> None:
    """They are stored as Unknown, which no rule on a status matches; those without a time are read another way."""
    sent = [event(f"r{i}", status) for i, status in enumerate(("cancelled", "Failed", "error", "Unknown"))]
    assert ["cancelled", "error"] == ask("POST", "events", json=sent).json()["unknown_statuses"]
    untimed = [
        {k: v for k, v in event(f"u{i}", word).items() if k != "time"} for i, word in enumerate(("killed", "Queued"))
    ]
    assert ["killed"] == ask("POST", "events", json=untimed).json()["unknown_statuses"]
    assert "unknown_statuses" not in ask("POST", "events", json=event("r9")).json()
    assert 7 == behind.count()


def test_an_answer_describes_its_dead_letters(ask: Ask) -> None:
    """A sender's developer sees at once what is wrong."""
    answer = ask(
        "POST", "event-grid", json=[{"eventType": "Microsoft.MachineLearningServices.RunStatusChanged", "topic": "t"}]
    )
    (letter,) = answer.json()["dead_letters"]
    assert "no_run_id" == letter["reason"]
    assert letter["detail"].endswith("finds nothing; the event has eventType (a string), topic (a string)")
    bare, azures, text = {"RunId": "r", "Status": "Failed"}, {"eventType": "Microsoft.X"}, {**event("r1"), "data": "{}"}
    said = [d["detail"] for d in ask("POST", "events", json=[bare, azures, text]).json()["dead_letters"]]
    assert "write {" in said[0] and '"data": {"RunId": …}' in said[0]
    assert ['type is "Microsoft.X", which /intake/event-grid takes', "data is a text, not an object"] == said[1:]


def test_a_gzip_body_is_read(behind: Behind, ask: Ask) -> None:
    """Also one of several members."""
    body = b"[" + json.dumps(event("a")).encode() + b","
    packed = gzip.compress(body) + gzip.compress(json.dumps(event("b")).encode() + b"]")
    assert (202, 2, 0, 0, 0) == counts(ask("POST", "events", content=packed, headers={"content-encoding": "gzip"}))


def test_cloudevents_binary_mode_is_read(behind: Behind, ask: Ask) -> None:
    """Attributes in headers, data as the body."""
    headers = {"ce-specversion": "1.0", "ce-type": "tocsin.run.status", "ce-id": "e%201", "ce-source": "s",
               "ce-time": "2026-11-23T12:00:00Z", "content-type": "application/json"}  # fmt: skip
    answer = ask("POST", "events", content=json.dumps({"RunId": "r9", "Status": "Failed"}), headers=headers)
    assert (202, 1, 0, 0, 0) == counts(answer)
    (row,) = behind.rows()
    assert ("e 1", "s", "r9", "Failed", True) == (
        row["EventId"],
        row["Source"],
        row["RunId"],
        row["Status"],
        row["TimeGiven"],
    )


def test_data_in_base64_is_read(behind: Behind, ask: Ask) -> None:
    """By the fast path; Raw keeps it as it was received, beside the data."""
    packed = base64.b64encode(json.dumps({"RunId": "r9", "Status": "Failed"}).encode()).decode()
    answer = ask("POST", "events", json={"specversion": "1.0", "type": "tocsin.run.status", "id": "1", "source": "s",
                                         "data_base64": packed})  # fmt: skip
    assert (202, 1, 0, 0, 0) == counts(answer)
    (row,) = behind.rows()
    assert ("r9", packed) == (row["RunId"], json.loads(row["Raw"])["data_base64"])


def test_a_subscription_of_sns_waits_for_a_person(behind: Behind, ask: Ask) -> None:
    """It is kept with its SubscribeURL, which tocsin does not fetch."""
    payload = {
        "Type": "SubscriptionConfirmation",
        "SubscribeURL": "https://sns.example.org/?Action=ConfirmSubscription",
    }
    headers = {"x-amz-sns-message-type": "SubscriptionConfirmation", "content-type": "text/plain; charset=UTF-8"}
    answer = ask("POST", "event-grid", content=json.dumps(payload), headers=headers)
    assert (202, 0, 0, 0, 1) == counts(answer)
    (letter,) = behind.rows("DeadLetters", order="Time")
    assert "confirm its subscription" in letter["Detail"]
    assert payload == json.loads(letter["Payload"])


FORM = {"content-type": "application/x-www-form-urlencoded"}


def test_a_form_is_its_payload_or_its_fields(tmp_path: Path, behind: Behind) -> None:
    """GitHub and Slack send JSON in the field `payload`; others send the fields themselves. What curl -d calls a form
    stays JSON.
    """
    file = tmp_path / "form.yaml"
    file.write_text("connector: http\nmapping: {RunId: run, Status: state, Message: note}\n")
    loaded = load_consumers([file])
    ask = asker(HttpIntake(lambda: loaded, behind.writer, behind.metrics, behind.clock))
    payload = json.dumps({"run": "a=b", "state": "Failed"})
    for content in (
        urlencode({"payload": payload}),
        "run=two&state=Failed&note=not+so%2C+good",
        payload.replace("a=b", "c=d"),
    ):
        assert (202, 1, 0, 0, 0) == counts(ask("POST", "form", content=content, headers=FORM))
    assert [("a=b", ""), ("c=d", ""), ("two", "not so, good")] == sorted(
        (r["RunId"], r["Message"]) for r in behind.rows()
    )
    assert 400 == ask("POST", "form", content="&".join(f"f{i}=1" for i in range(2000)), headers=FORM).status_code
    assert 400 == ask("POST", "form", content="nonsense", headers=FORM).status_code


@pytest.mark.parametrize(
    ("method", "consumer", "content", "headers", "status", "detail", "reason"),
    [
        ("POST", "event", b"{}", {}, 404, "did you mean 'events'?", "unknown_consumer"),
        ("POST", "events-kafka", b"{}", {}, 404, "takes no events", "unknown_consumer"),
        ("GET", "events", b"", {}, 405, "this was GET", "method"),
        ("POST", "events", b"", {}, 400, "send one event", "no_json"),
        ("POST", "events", b" \n", {}, 400, "send one event", "no_json"),
        ("POST", "events", b"nonsense", {}, 400, "send one event", "no_json"),
        ("POST", "event-grid", b'{"a": ', {}, 400, "send one event", "no_json"),
        ("POST", "events", b"{}", {"content-type": "application/xml"}, 415, "send application/json", "type"),
        ("POST", "events", b"{}", {"content-type": "multipart/form-data; boundary=x"}, 415, "not JSON", "type"),
        ("POST", "events", b"{}", {"content-type": "application/json; charset=latin-1"}, 415, "not utf-8", "type"),
        ("POST", "events", b"{}", {"content-encoding": "br"}, 415, "is not gzip", "type"),
        ("POST", "events", b"{}", {"content-encoding": "gzip"}, 400, "", "no_json"),
        # A time of 0: the id of a case holds its bytes, and every worker has to collect the same ids.
        (
            "POST",
            "events",
            gzip.compress(b"{}", mtime=0)[:-4],
            {"content-encoding": "gzip"},
            400,
            "ends too early",
            "no_json",
        ),
        ("POST", "events", gzip.compress(b" ", mtime=0) * 65, {"content-encoding": "gzip"}, 400, "members", "no_json"),
        ("POST", "events", b"x" * (8 << 20) + b"y", {}, 413, "at most 8388608 bytes", "size"),
        (
            "POST",
            "events",
            gzip.compress(b" " * (9 << 20), mtime=0),
            {"content-encoding": "gzip"},
            413,
            "at most",
            "size",
        ),
    ],
)
def test_a_refusal_says_what_would_be_right(
    behind: Behind, ask: Ask, method: str, consumer: str, content: bytes, headers: Mapping[str, str], status: int,
    detail: str, reason: str,
) -> None:  # fmt: skip
    """As application/problem+json; nothing is kept, and it is counted."""
    answer = ask(method, consumer, content=content, headers=headers)
    body = answer.json()
    assert (status, status, "application/problem+json") == (
        answer.status_code,
        body["status"],
        answer.headers["content-type"],
    )
    assert detail in body["detail"]
    assert 1 == behind.metric("tocsin_intake_refused_total", reason=reason)
    assert (0, 0) == (behind.count(), behind.count("DeadLetters"))


def test_a_large_event_in_an_array_is_dead_alone(behind: Behind, ask: Ask) -> None:
    """The body may be larger than one event may."""
    large = {**event("b"), "x": "y" * (1 << 20)}
    assert (202, 2, 0, 0, 1) == counts(ask("POST", "events", json=[event("a"), large, event("c")]))
    (letter,) = behind.rows("DeadLetters", "Time")
    assert ("too_large", 256 << 10) == (letter["Reason"], len(letter["Payload"]))


@pytest.mark.parametrize(
    "payload",
    [
        {"type": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": {"validationCode": "c"}},
        [{"EventType": "microsoft.eventgrid.subscriptionvalidationevent", "Data": {"ValidationCode": "c"}}],
    ],
)
def test_event_grid_is_validated_in_either_schema_and_any_case(ask: Ask, payload: object) -> None:
    """Also without its version fields."""
    answer = ask("POST", "event-grid", json=payload)
    assert (200, {"validationResponse": "c"}) == (answer.status_code, answer.json())


def test_text_that_names_the_validation_event_is_an_event(behind: Behind, ask: Ask) -> None:
    """Only the first event's type counts."""
    notified = event()
    notified["data"]["Message"] = "Microsoft.EventGrid.SubscriptionValidationEvent"
    assert (202, 1, 0, 0, 0) == counts(ask("POST", "events", json=notified))


def test_cloudevents_handshake_is_answered(ask: Ask) -> None:
    """OPTIONS names who may send."""
    headers = {"WebHook-Request-Origin": "eventgrid.azure.net", "WebHook-Request-Rate": "120"}
    answer = ask("OPTIONS", "event-grid", headers=headers)
    assert (200, "eventgrid.azure.net", "120") == (
        answer.status_code, answer.headers["webhook-allowed-origin"], answer.headers["webhook-allowed-rate"],
    )  # fmt: skip


class Stubborn(Sink):
    """A sink that fails in a given way, as the writer does when its store is in trouble."""

    def __init__(self, failures: BaseException | None, *, at_put: bool = False) -> None:
        self.failures, self.at_put = failures, at_put
        self.futures: list[Future[Receipt]] = []

    def put(self, batch: Batch, timeout: float | None = None) -> Future[Receipt]:
        if self.failures is not None and self.at_put:
            raise self.failures
        future: Future[Receipt] = Future()
        if self.failures is not None:
            future.set_exception(self.failures)
        self.futures.append(future)
        return future

    def positions(self, cluster: str, topic_id: str) -> Mapping[int, int]:
        return {}

    def topic_ids(self, cluster: str, topic: str) -> list[str]:
        return []


QUICK = HttpLimits(full_wait=timedelta(milliseconds=30), commit_wait=timedelta(milliseconds=30))


@pytest.mark.parametrize(
    ("sink", "status", "retry"),
    [
        (Stubborn(StoreFull("below the reserve")), 503, "30"),
        (Stubborn(StoreLost("gone")), 503, "5"),
        (Stubborn(StoreError("stopping"), at_put=True), 503, "5"),
        (Stubborn(TimeoutError("full"), at_put=True), 429, "2"),
        (Stubborn(None), 503, "5"),
    ],
)
def test_a_failing_store_asks_the_sender_to_come_again(
    shipped: Mapping[str, Consumer], sink: Stubborn, status: int, retry: str
) -> None:
    """Never 202 for what is not durable; a commit that comes too late is not cancelled."""
    answer = asker(HttpIntake(lambda: shipped, sink, Metrics(), SystemClock(), lambda: QUICK))(
        "POST", "events", json=event()
    )
    assert (status, retry) == (answer.status_code, answer.headers["retry-after"])
    for future in sink.futures:
        with suppress(Exception):
            future.set_result(Receipt(accepted=1, duplicate=0, heartbeats=0))
        assert not future.cancelled()


def test_many_at_once_share_commits(behind: Behind, shipped: Mapping[str, Consumer]) -> None:
    """Group commit: 200 senders at a time, each answered when its own event is durable."""
    app = Starlette(routes=HttpIntake(lambda: shipped, behind.writer, behind.metrics, behind.clock).routes())

    async def all_at_once() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://tocsin") as client:
            answers = await asyncio.gather(*(client.post("/intake/events", json=event(f"r{i}")) for i in range(200)))
            return [answer.status_code for answer in answers]

    assert [202] * 200 == asyncio.run(all_at_once())
    assert (200, True) == (behind.count(), behind.store.head().seq < 100)


class FullOnce(Sink):
    """Takes everything as ``sink`` does, but for one batch in the middle."""

    def __init__(self, sink: Sink, at: int) -> None:
        self.sink, self.left = sink, at

    def put(self, batch: Batch, timeout: float | None = None) -> Future[Receipt]:
        self.left -= 1
        if self.left == 0:
            raise StoreFull("no space")
        return self.sink.put(batch, timeout)

    def positions(self, cluster: str, topic_id: str) -> Mapping[int, int]:
        return self.sink.positions(cluster, topic_id)

    def topic_ids(self, cluster: str, topic: str) -> list[str]:
        return self.sink.topic_ids(cluster, topic)


@pytest.mark.parametrize(("count", "apart", "commits"), [(MANY + 1, True, 2), (MANY + 1, False, 1), (MANY, True, 1)])
def test_the_first_events_of_many_are_a_commit_of_their_own(
    behind: Behind, shipped: Mapping[str, Consumer], count: int, apart: bool, commits: int
) -> None:
    """Their mails leave while the rest is written. 202 says that all of it is durable; a part that fails makes the
    sender send all of it again, and nothing is stored twice.
    """
    intake = HttpIntake(lambda: shipped, FullOnce(behind.writer, commits), behind.metrics, behind.clock)
    intake.apart = lambda: apart
    ask, sent = asker(intake), [event(f"r{n:03}") for n in range(count)]
    assert ask("POST", "events", json=sent).status_code == 503
    first = FIRST_PART if commits > 1 else 0
    assert behind.count() == first
    assert counts(ask("POST", "events", json=sent)) == (202, count - first, first, 0, 0)
    assert behind.store.head().seq == commits
    assert [row["RunId"] for row in behind.rows()] == [each["data"]["RunId"] for each in sent]


def test_a_disabled_consumer_takes_nothing(tmp_path: Path, behind: Behind) -> None:
    """And a reload counts at the next request."""
    path = tmp_path / "mine.yaml"
    text = "connector: http\nmapping: {RunId: run, Status: state}\nexpect: {event_every: 15m}\n"
    path.write_text(text + "enabled: false\n")
    loaded = load_consumers([path])
    intake = HttpIntake(lambda: loaded, behind.writer, behind.metrics, behind.clock)
    ask = asker(intake)
    assert 404 == ask("POST", "mine", json={"run": "r", "state": "Failed"}).status_code
    path.write_text(text)
    loaded = load_consumers([path])
    assert 202 == ask("POST", "mine", json={"run": "r", "state": "Failed"}).status_code


def test_watermark_is_the_grace_and_the_sources_word(tmp_path: Path, behind: Behind) -> None:
    """Known after the grace; a source that speaks is believed for as long as it promised."""
    path = tmp_path / "mine.yaml"
    path.write_text("connector: http\nmapping: {RunId: run, Status: state}\nexpect: {event_every: 15m}\n")
    consumers = load_consumers([path])
    intake = HttpIntake(lambda: consumers, behind.writer, behind.metrics, behind.clock)
    now = behind.clock.now()
    assert None is intake.watermark("mine", GraceWatermark(now, now))
    up = GraceWatermark(now - timedelta(hours=2), now - timedelta(hours=2))
    found = intake.watermark("mine", up)
    assert found is not None and found >= now
    asker(intake)("POST", "mine", json={"run": "r", "state": "Failed"})
    assert intake.silence("mine").last_event > now


def test_a_stop_does_not_wait_for_answers(behind: Behind) -> None:
    """The writer goes on when nobody waits any more for what it commits."""
    consumers = load_consumers([Path(__file__).parents[3] / "consumers" / "events.yaml"])
    sink = Stubborn(None)
    app = Starlette(routes=HttpIntake(lambda: consumers, sink, behind.metrics, behind.clock).routes())

    async def cancelled() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://tocsin") as client:
            task = asyncio.create_task(client.post("/intake/events", json=event()))
            while not sink.futures:
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(cancelled())
    done = threading.Event()
    sink.futures[0].add_done_callback(lambda _: done.set())
    sink.futures[0].set_result(Receipt(accepted=1, duplicate=0, heartbeats=0))
    assert eventually(done.is_set)
