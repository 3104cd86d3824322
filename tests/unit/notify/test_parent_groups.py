"""The mail about a sweep: numbers and causes in the subject, some runs of each in the body."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from tests.unit.notify.make import HAPPENED, INFO, NOW, draft, intent, renderer, seen
from tocsin.model.alert import Why
from tocsin.model.details import Cause, Child, Details, Group
from tocsin.model.intent import Intent, IntentKind
from tocsin.notify.channels.local import LocalChannel
from tocsin.notify.render.mail import notification_of, write
from tocsin.notify.values import NO_FACTS

US = 1_000_000


def cause(text: str, count: int, *runs: Child) -> Cause:
    return Cause(cause=text, count=count, runs=runs)


def run(name: str, url: str = "") -> Child:
    return Child(run=f"id-{name}", name=name, url=url, us=int(HAPPENED.timestamp()) * US)


CAUSES = (
    cause("CUDA out of memory", 18, run("trial 1", "https://ml.example.org/t1"), run("trial 2"), run("trial 3")),
    cause("timeout", 6, run("trial 9")),
)


def swept(
    why: Why = Why.ENOUGH_CHILDREN, *, kind: IntentKind = IntentKind.FIRED, ended: str = "", **said: Any
) -> Intent:
    about = replace(Group(matched=24, children=100, did="failed", ended=ended, causes=CAUSES), **said)
    details = Details(group=about)
    notified = intent("sweep-failing", kind=kind, details=details, Status="Running", Message="", Reason="")
    return replace(notified, why=why)


def test_the_subject_says_how_many_and_why() -> None:
    subject = seen(swept()).alert.title
    assert subject == "sweep churn: 24 of 100 runs failed: CUDA out of memory (18), timeout (6)"
    assert subject.index("CUDA") < 45


def test_the_end_says_how_the_parent_ended() -> None:
    made = seen(swept(Why.PARENT_ENDED, ended="Completed"))
    assert made.alert.title.startswith("sweep churn completed: 24 of 100 runs failed: CUDA")


def test_the_body_has_causes_with_counts_and_some_runs_with_links() -> None:
    made = renderer().templates.render("", seen(swept()))
    order = [
        "24 of 100 runs failed", "as of 08:15 (Budapest)", "18 × CUDA out of memory", "08:15  trial 1",
        "https://ml.example.org/t1", "trial 2", "https://tocsin.example.org/runs/id-trial%202", "and 15 more", "6 × timeout",
        "trial 9", "and 5 more",
    ]  # fmt: skip
    places = [made.text.find(words) for words in order]
    assert -1 not in places and places == sorted(places), dict(zip(order, places, strict=True))
    assert made.problem == ""
    assert 'href="https://ml.example.org/t1"' in made.html and "18 × CUDA out of memory" in made.html


def test_a_phone_shows_the_causes_next() -> None:
    assert seen(swept()).says.preheader == "18 × CUDA out of memory · 6 × timeout"


def test_what_was_notified_again_says_its_new_numbers_in_the_subject() -> None:
    """Elsewhere a repetition has the subject of its thread."""
    notified = swept(Why.MORE_CHILDREN, kind=IntentKind.REPEATED, matched=60)
    thread = ("<first@example.org>", "sweep churn: 24 of 100")
    delivery, _ = write(notification_of(draft(notified), NO_FACTS, thread, renderer(), NOW), LocalChannel())
    assert delivery.subject.startswith("sweep churn: 60 of 100 runs failed")
    assert b"References: <first@example.org>" in delivery.message


def test_a_summary_may_name_the_numbers() -> None:
    info = replace(INFO, summary="{{ ExperimentName }}: {{ Count }}/{{ Children }} ({{ Share }}) {{ Causes }}")
    assert seen(swept(), info=info).alert.title == "churn: 24/100 (24%) CUDA out of memory (18), timeout (6)"
    assert seen(intent(), info=info).alert.title == "churn: / ()"


def test_the_parents_own_failure_says_what_is_known_of_its_children() -> None:
    """Its subject is that of any failed run."""
    notified = intent(details=swept().details)
    made = renderer().templates.render("", seen(notified))
    assert seen(notified).alert.title.startswith("churn failed")
    assert "24 of its 100 runs failed" in made.text and "18 × CUDA out of memory" in made.text


def test_hostile_links_and_texts_are_harmless() -> None:
    said = (cause("<script>alert(1)</script>", 1, run("<b>\r\nBcc: x", "javascript:alert(1)")),)
    made = renderer().templates.render("", seen(swept(causes=said)))
    assert "<script>" not in made.html and "javascript:" not in made.html + made.text
    assert "\n" not in made.subject


def test_what_the_data_does_not_hold_makes_no_mail_fail() -> None:
    notified = replace(swept(), details=Details(group=Group()), event_time=HAPPENED - timedelta(days=1))
    made = renderer().templates.render("", seen(notified))
    assert made.problem == "" and "None" not in made.text
