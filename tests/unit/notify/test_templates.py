"""Templates: what they see, what they cannot do, what happens when one fails."""

import os
import re
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.notify.make import BUDAPEST, HAPPENED, INFO, NOW, TEMPLATES, draft, intent, renderer, seen
from tocsin.model.details import Details, EndedBy, Expired, Health
from tocsin.model.intent import SUMMARY_WORDS, IntentKind, RuleInfo
from tocsin.model.statuses import Severity
from tocsin.notify import context
from tocsin.notify.context import Change, Line, Mail, Nearby, RunAttempt
from tocsin.notify.render.templates import FILTERS, HTML_LIMIT, Templates, inline_styles
from tocsin.notify.render.views import mail, summary_fields
from tocsin.notify.values import RunFacts

DOCS = Path(__file__).parents[3] / "docs" / "notify.md"

FACTS = RunFacts(
    history=(
        Change(status="Queued", at=HAPPENED - timedelta(hours=7), attempt=3),
        Change(status="Failed", at=HAPPENED, attempt=3),
    ),
    attempts=(
        RunAttempt(
            run="a",
            attempt=2,
            status="Failed",
            started=HAPPENED - timedelta(days=1),
            ended=HAPPENED - timedelta(hours=9),
        ),
        RunAttempt(run="b", attempt=3, status="Failed", started=HAPPENED - timedelta(hours=6), ended=HAPPENED),
    ),
    attempts_known=3,
    last_success=HAPPENED - timedelta(hours=29),
    nearby=Nearby(target=14, everywhere=20),
)


# -- the shipped ones


def test_a_run_mail_says_it_in_order() -> None:
    """What and why, whose and where, since when, which try, alone or not, what to do, proof, why you got it."""
    notified = intent(Attempt=3, Message="CUDA out of memory. Tried 2 GiB")
    made = renderer().templates.render(
        "", seen(notified, FACTS, replace(INFO, final=True, runbook="https://wiki.example.org/r"))
    )
    assert made.problem == ""
    assert made.subject == "churn failed after 6 h 12: CUDA out of memory"
    order = [
        "ERROR", "churn / sweep-42", "CUDA out of memory", "failed at 08:15 (Budapest) after 6 h 12",
        "3 of 3 attempts failed · Ágnes · aks-eu", "14 others failed on aks-eu in the last 30 min, 20 in all",
        "last success yesterday 03:15", "Open run: https://ml.example.org/runs/sweep-42",
        "Runbook: https://wiki.example.org/r", "Error:", "Tried 2 GiB", "Last 2 log lines:", "epoch 18",
        "Timeline:", "Queued (attempt 3)", "Attempts:", "2. Failed after 15 h",
        "You get this because rule run-failed notifies the run’s owner.",
    ]  # fmt: skip
    places = [made.text.find(words) for words in order]
    assert -1 not in places, dict(zip(order, places, strict=True))
    assert places == sorted(places)
    assert max(map(len, made.text.splitlines())) <= 72


def test_a_late_failure_says_that_the_run_has_completed_since() -> None:
    """A Failed that arrives after the Completed of its run; the other way round nothing is said."""
    completed = Change(status="Completed", at=HAPPENED + timedelta(minutes=10), attempt=3)
    late = replace(FACTS, history=(*FACTS.history, completed))
    made = renderer().templates.render("", seen(intent(Attempt=3), late))
    text, html = " ".join(made.text.split()), " ".join(made.html.split())
    assert 0 < text.find("The run has completed since, at 08:25 (Budapest).") < text.find("Open run:"), (
        "on a phone's screen"
    )
    assert 0 < html.find("completed since") < html.find("Open run")
    before = replace(FACTS, history=(replace(completed, at=HAPPENED - timedelta(minutes=10)),))
    for facts in (FACTS, before):
        assert "since, at" not in renderer().templates.render("", seen(intent(Attempt=3), facts)).text


def test_the_preheader_says_what_a_phone_shows_next() -> None:
    mail = seen(intent(Attempt=3), FACTS)
    assert mail.says.preheader == "3 of 3 attempts failed · on aks-eu · last success yesterday 03:15 · 14 others there"


@pytest.mark.parametrize("columns", [{}, {"Message": "", "Reason": "", "LogTail": "", "Url": "", "Target": ""}])
def test_a_run_mail_without_facts_or_reason_is_whole(columns: dict[str, Any]) -> None:
    made = renderer().templates.render("", seen(intent(**columns)))
    assert made.problem == ""
    assert "None" not in made.text + made.html


def test_html_is_small_and_holds_nothing_remote() -> None:
    """Below what Gmail cuts, no pictures, no scripts, styles inlined, one block for what cannot be."""
    long = intent(Message="m" * 3000, LogTail="\n".join("l" * 500 for _ in range(60)), ExperimentName="e" * 400)
    html = renderer().templates.render("", seen(long, FACTS)).html
    assert 5_000 < len(html) < HTML_LIMIT
    assert not re.search(r"<(img|script|link|iframe|svg)\b|url\(|@import|@font-face", html)
    assert html.count("<style>") == 1
    bare = [tag for tag in re.findall(r"<t[dh]\b[^>]*>", html) if "style=" not in tag]
    assert bare == []


def test_the_tail_in_a_mail_is_what_a_person_saw_with_the_traceback_before_other_lines() -> None:
    """A mail shows 20 lines: the exception's frames among them, though 40 lines of teardown followed it."""
    frame = '  File "/job/train.py", line 7, in step\n    loss.backward()\n'
    text = f"Traceback (most recent call last):\n{frame}\x1b[31mRuntimeError\x1b[0m: nan\n" + "\r 1%\r 2%\n" * 40
    log = seen(intent(LogTail=text)).run.log  # type: ignore[union-attr]
    assert 20 == len(log)
    assert ("Traceback (most recent call last):", *frame.rstrip("\n").split("\n"), "RuntimeError: nan") == log[:4]
    assert {" 2%", "…"} == set(log[4:])


def test_values_are_escaped() -> None:
    evil = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'
    columns: dict[str, Any] = dict.fromkeys(
        ("Message", "LogTail", "ExperimentName", "DisplayName", "Target", "TriggeringUserName"), evil
    )
    html = renderer().templates.render("", seen(intent(**columns))).html
    assert "<script" not in html and "<img" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", 'https://x/"onclick="a', "http://", "data:text/html,x", "https://a b"]
)
def test_only_web_links_become_links(url: str) -> None:
    """Anything else is left out, and the run's page in tocsin takes its place."""
    notified = intent(Url=url, run="a/b c")
    assert (seen(notified).links.run, seen(notified).links.history) == (
        "https://tocsin.example.org/runs/a%2Fb%20c",
    ) * 2
    made = renderer().templates.render("", seen(notified))
    assert "javascript" not in made.text + made.html and "onclick" not in made.text + made.html


def test_secrets_do_not_leave() -> None:
    """Redacted again when a mail is made, in the body, the cause and the subject."""
    columns: dict[str, Any] = {
        "Message": "login failed: password=hunter2hunter2",
        "LogTail": "export API_KEY=abcdef0123456789abcdef",
    }
    made = renderer().templates.render("", seen(intent(**columns)))
    everything = made.subject + made.text + made.html
    assert "hunter2" not in everything and "abcdef0123456789" not in everything


def test_bidi_controls_are_gone_and_right_to_left_is_isolated() -> None:
    made = renderer().templates.render(
        "", seen(intent(Message="a\u202eb", TriggeringUserName="ليلى", ExperimentName="x\u2067y"))
    )
    assert not set("\u202e\u2067") & set(made.subject + made.text + made.html)
    assert "\u2068ليلى\u2069" in made.text


def test_a_late_mail_says_so() -> None:
    mail = seen(intent(event_time=NOW - timedelta(hours=2, minutes=5)))
    assert mail.says.late == "notified 2 h 05 late"
    made = renderer().templates.render("", mail)
    assert "(notified 2 h 05 late)" in made.text and "(notified 2 h 05 late)" in made.html


def test_a_window_rules_mail_shows_its_rows() -> None:
    rows = tuple({"ExperimentName": f"e{n}", "rate": n / 7} for n in range(13))
    notified = replace(intent("failure-rate", run=""), rows=rows, value=0.25, details=Details(rows=41))
    made = renderer().templates.render("", seen(notified))
    assert made.problem == ""
    assert "value 0.25" in made.text
    assert "ExperimentName  rate" in made.text
    assert "e9              1.286" in made.text
    assert "and 31 more" in made.text and "and 31 more" in made.html


def test_other_rules_of_the_run_are_named() -> None:
    both = draft(intent("severe"), intent("mild", Message=""))
    made = renderer()
    rendered = made.templates.render("", mail(both, FACTS, made.presentation, NOW, made.templates.words))
    assert "Other rules that fired:\n- ERROR mild" in rendered.text
    assert "mild" in rendered.html


def test_own_health_has_a_template() -> None:
    health = Health(
        title="3 files are broken", text="The last good set stays in force.", lines=("a.yaml:3: no <key>",)
    )  # fmt: skip
    own = intent("tocsin", kind=IntentKind.ADMIN, run="", details=Details(health=health))
    made = renderer().templates.render("admin", seen(own))
    assert made.problem == ""
    assert made.subject == "tocsin: 3 files are broken"
    assert "  a.yaml:3: no <key>" in made.text and "a.yaml:3: no &lt;key&gt;" in made.html


def test_a_catch_up_has_a_summary() -> None:
    oldest, newest = datetime(2026, 1, 5, 10, tzinfo=UTC), datetime(2026, 11, 20, 10, tzinfo=UTC)
    details = Details(expired=Expired(count=1234, oldest=oldest, newest=newest, consumer="a"))
    lines = tuple(
        Line(title="churn Failed", name=f"r{n}", cause="disk full", severity="error", rule="r", url="", at=NOW)
        for n in range(12)
    )
    facts = RunFacts(expired=lines)
    made = renderer().templates.render("summary", seen(intent(kind=IntentKind.SUMMARY, run="", details=details), facts))
    assert made.problem == ""
    assert made.subject == "run-failed: 1234 older alerts not notified one by one"
    assert "1234 alerts of rule run-failed expired" in made.text
    assert "between 2026-01-05 11:00 and Fri 11:00 (Budapest)" in made.text
    assert "12 × disk full" in made.text and 10 == made.text.count("churn Failed") and "and 2 more" in made.text


# -- a rule's own words


def test_a_rules_summary_is_the_subject() -> None:
    info = RuleInfo(name="r", version="v", summary="{{ ExperimentName }} broke after {{ Duration }}:\n{{ Message }}")
    mail = seen(intent(Message="a\u202eb\nc"), info=info)
    assert renderer().templates.render("", mail).subject == "churn broke after 6 h 12: ab c"


def test_the_subject_of_a_critical_alert_says_so_first() -> None:
    """Its end keeps the subject of what it answers; without that it is not critical any more."""
    critical = intent(severity=Severity.CRITICAL)
    made = [
        renderer().templates.render("", seen(one)) for one in (critical, replace(critical, kind=IntentKind.RESOLVED))
    ]
    assert [
        "Critical: churn failed after 6 h 12: CUDA out of memory",
        "churn failed after 6 h 12: CUDA out of memory",
    ] == [each.subject for each in made]


@pytest.mark.parametrize("summary", ["{{ Experiment }}", "{{ 1 / 0 }}", "{{ Message.", "{{ ''.__class__ }}", " "])
def test_a_summary_that_fails_leaves_the_built_in_subject_and_says_so(summary: str) -> None:
    mail = seen(info=RuleInfo(name="r", version="v", summary=summary))
    assert mail.alert.title == "churn failed after 6 h 12: CUDA out of memory"
    assert any("its summary" in note for note in mail.notes)


# -- a user's templates


def home(tmp_path: Path, **files: str) -> Templates:
    for name, content in files.items():
        (tmp_path / name.replace("__", ".")).write_text(content)
    return Templates([tmp_path, TEMPLATES])


def test_a_homes_file_wins_one_by_one(tmp_path: Path) -> None:
    made = home(tmp_path, run__subject__txt__j2="MINE {{ alert.rule }}").render("", seen())
    assert made.subject == "MINE run-failed"
    assert "CUDA out of memory" in made.text


def test_a_changed_template_is_taken_up(tmp_path: Path) -> None:
    """A file that appears, changes or goes; and a change of mail.css, which is compiled in."""
    templates = home(tmp_path)
    subjects = [templates.render("", seen()).subject]
    path = tmp_path / "run.subject.txt.j2"
    for n, content in enumerate(("one", "two!")):
        path.write_text(content)
        os.utime(path, ns=(n, n))
        subjects.append(templates.render("", seen()).subject)
    path.unlink()
    subjects.append(templates.render("", seen()).subject)
    assert subjects == ["churn failed after 6 h 12: CUDA out of memory", "one", "two!", subjects[0]]
    (tmp_path / "mail.css").write_text(".cause { color: #123456 }")
    assert 'style="color:#123456"' in templates.render("", seen()).html.replace(": #", ":#")


FAILING = {
    "unknown name": "{{ runn.id }}",
    "unknown field": "{{ run.idd }}",
    "syntax": "{% if %}",
    "division": "{{ 1 // 0 }}",
    "inner life": "{{ run.__class__.__mro__ }}",
    "function": "{{ alert.labels.items.__globals__ }}",
    "steps": "{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}",
    "range": "{% for a in range(10000000000) %}{% endfor %}",
    "size": "{% for a in range(15000) %}" + "x" * 100 + "{% endfor %}",
    "string bomb": "{{ 'x' * 100000000 }}",
    "list bomb": "{{ [1] * 100000000 }}",
    "power": "{{ 10 ** 100000000 }}",
    "format": "{{ '%1000000000d' % 1 }}",
    "ljust": "{{ 'x'.ljust(1000000000) }}",
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "include": "{% include '../../etc/passwd' %}",
}


@pytest.mark.parametrize("source", FAILING.values(), ids=FAILING)
def test_a_template_that_fails_is_replaced_and_says_so(tmp_path: Path, source: str) -> None:
    """Whatever it does, a mail goes out, and soon."""
    made = home(tmp_path, run__txt__j2=f"one\n{source}\n").render("", seen())
    assert made.problem.startswith("template 'run' failed (")
    assert "CUDA out of memory" in made.text and made.html
    flat = " ".join(made.text.split())
    assert "Template 'run' failed (" in flat and "this is the built-in one" in flat


def test_a_fault_names_its_line(tmp_path: Path) -> None:
    made = home(tmp_path, run__txt__j2="one\ntwo\n{{ run.idd }}\n").render("", seen())
    assert "line 3: " in made.problem and "idd" in made.problem


def test_a_template_that_is_not_there_is_replaced(tmp_path: Path) -> None:
    made = home(tmp_path).render("fancy", seen(intent()))
    assert "template 'fancy' failed" in made.problem
    assert "CUDA out of memory" in made.text


def test_a_template_of_text_only_makes_a_mail_of_text_only(tmp_path: Path) -> None:
    made = home(tmp_path, short__txt__j2="{{ alert.title }}").render("short", seen())
    assert (made.problem, made.html) == ("", "")


def test_without_any_template_a_mail_still_says_the_least(tmp_path: Path) -> None:
    made = Templates([tmp_path]).render("", seen())
    assert "CUDA out of memory" in made.text and "sweep-42" in made.text


def test_check_finds_names_that_no_template_has(tmp_path: Path) -> None:
    """A typo would only show when the mail is due."""
    source = "{% set mine = 1 %}{{ mine }}{{ alert.rule }}\n{{ runn.id }}"
    (problem,) = home(tmp_path, run__txt__j2=source).check()
    assert (problem.line, problem.warning, problem.hint) == (2, True, "did you mean 'run'?")


def test_check_names_file_and_line(tmp_path: Path) -> None:
    found = home(tmp_path, run__txt__j2="a\n{% endif %}\n").check()
    assert [(Path(p.file).name, p.line) for p in found] == [("run.txt.j2", 2)]
    assert Templates([TEMPLATES]).check() == []


@settings(deadline=None, max_examples=examples(60))
@given(
    st.dictionaries(
        st.sampled_from(
            ["Message", "LogTail", "ExperimentName", "DisplayName", "Target", "Reason", "Status", "Url", "Attempt", "Tags",
             "StartTime", "EndTime", "DurationMs", "ErrorCode", "OwnerEmail", "WillRetry"]
        ),
        st.none() | st.text(max_size=60) | st.integers() | st.floats() | st.booleans() | st.lists(st.integers(), max_size=2),
    )
)  # fmt: skip
def test_whatever_an_event_holds_the_shipped_template_renders(columns: dict[str, Any]) -> None:
    made = renderer().templates.render("", seen(intent(**columns), FACTS))
    assert made.problem == ""
    assert made.subject and "\n" not in made.subject


# -- what is documented


def _names(cls: type, prefix: str = "") -> set[str]:
    return {f"{prefix}{f.name}" for f in fields(cls)}


def test_every_name_is_documented_and_every_documented_name_is_there() -> None:
    """docs/notify.md and notify/context.py say the same, both ways."""
    parts = {
        "alert": context.Alert, "run": context.Run, "rule": context.Rule, "links": context.Links,
        "reader": context.Reader, "summary": context.Summary, "says": context.Says,
        "parent_group": context.ParentGroup,
    }  # fmt: skip
    items = {
        "change": context.Change, "attempt": context.RunAttempt, "nearby": context.Nearby, "other": context.Other,
        "bunch": context.Bunch, "line": context.Line,
    }  # fmt: skip
    there = _names(Mail) - set(parts)
    for name, cls in (parts | items).items():
        there |= _names(cls, f"{name}.")
    documented = set(re.findall(r"^\| `([a-z_.]+)` \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    assert documented == there


def test_every_filter_is_documented() -> None:
    documented = set(re.findall(r"^\| `\\\|([a-z]+)(?:\(.*?\))?` \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    assert documented == set(FILTERS)


# -- styles


def test_styles_are_inlined_by_tag_and_class_and_jinja_is_left_alone() -> None:
    css = "td { margin: 0 } .a { color: red } td.b { padding: 1px }"
    source = '<td class="a{{ x }}" title="{{ y | z }}">{% if a < b %}<td class="b c" style="top:0">{% endif %}<p>'
    made = inline_styles(source, css).replace(": ", ":").replace(';"', '"')
    assert made == (
        '<td class="a{{ x }}" title="{{ y | z }}" style="margin:0;color:red">{% if a < b %}'
        '<td class="b c" style="margin:0;padding:1px;top:0">{% endif %}<p>'
    )


def test_times_of_a_mail_are_its_readers() -> None:
    assert seen().reader.zone == BUDAPEST


def test_a_recovery_says_what_ended_it() -> None:
    """In both forms, escaped and without secrets, and never that it was late: its event happened long before."""
    notified = intent(
        kind=IntentKind.RESOLVED,
        at=NOW + timedelta(hours=9),
        details=Details(
            ended_by=EndedBy(
                run="<b>r2</b>\npassword=hunter2secret",
                status="Completed",
                time=datetime(2026, 11, 24, 16, 15, tzinfo=UTC),
            )
        ),
    )
    made = renderer().templates.render("", seen(notified))
    assert "Completed at 2026-11-24 16:15 UTC" in " ".join(made.text.split())
    assert "&lt;b&gt;r2&lt;/b&gt;" in made.html
    assert not any(word in part for word in ("hunter2secret", "late") for part in (made.text, made.html))


def test_a_summary_may_name_besides_fields_what_the_checks_know() -> None:
    """What `tocsin check` accepts is what a mail renders, and the other way round."""
    bare = replace(intent(), event={}, instance={}, labels={}, fields={})
    assert {*SUMMARY_WORDS, "Tags", "Properties"} == set(summary_fields(bare, ""))
