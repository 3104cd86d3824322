"""What every state store must do. A store's test supplies the fixture ``state``: a store just made, closed
afterwards.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.unit.state.builders import (
    ANNA,
    HOUR,
    LATER,
    NOW,
    attempted,
    delivery,
    intent,
    occurrence,
    transition,
)
from tests.unit.state.contract_evaluation import EvaluationContract
from tests.unit.state.contract_outbox import OutboxContract
from tocsin.errors import StoreError
from tocsin.model.active import Action, ActionKind, Deed, Preference, PreferenceKind, StoredSilence, alert_id
from tocsin.model.alert import Phase, instance_key
from tocsin.model.columns import ACTIONS, ALERTS, NOTIFICATIONS
from tocsin.model.delivery import DeliveryState
from tocsin.model.intent import IntentKind, RuleInfo
from tocsin.state.interface import Outcome, State


class MirrorContract:
    """The copy for the log store."""

    def test_rows_are_numbered_without_a_gap(self, state: State) -> None:
        """In the order of the transactions, Alerts and Notifications alike."""
        state.commit(Outcome(transitions=(transition("r1"), transition("r2"))), NOW)
        state.put_deliveries([delivery("d1")], [], NOW)
        state.commit(Outcome(transitions=(transition("r3"),)), NOW)
        rows = state.mirror_after(0)
        assert [1, 2, 3, 4] == [m.seq for m in rows]
        assert ["Alerts", "Alerts", "Notifications", "Alerts"] == [m.table for m in rows]
        assert [3, 4] == [m.seq for m in state.mirror_after(2)]
        assert [3] == [m.seq for m in state.mirror_after(2, limit=1)]
        assert 4 == state.mirror_seq()

    def test_rows_of_a_condition_name_the_alert_that_fires(self, state: State) -> None:
        """From its firing to its end; before it, and with the next firing, another one."""

        def step(before: Phase, after: Phase, fired: bool = False) -> str:
            row = transition("r1", occurrence="", before=before, after=after)
            state.commit(Outcome(intents=(intent("r1", occurrence="t1"),) if fired else (), transitions=(row,)), NOW)
            return str(state.mirror_after(0)[-1].row["AlertId"])

        first = alert_id("run-failed", instance_key(intent("r1").instance), "t1")
        steps = [
            step(Phase.NONE, Phase.PENDING),
            step(Phase.PENDING, Phase.FIRING, fired=True),
            step(Phase.FIRING, Phase.RECOVERING),
            step(Phase.RECOVERING, Phase.RESOLVED),
            step(Phase.NONE, Phase.PENDING),
        ]
        assert ["", first, first, first, ""] == steps

    def test_conditions_of_a_rule_that_fired_at_one_instant_end_apart(self, state: State) -> None:
        """They share the name of their occurrence."""
        runs = ("r1", "r2")
        fires = tuple(transition(run, occurrence="t1", after=Phase.FIRING) for run in runs)
        state.commit(Outcome(intents=tuple(intent(run, occurrence="t1") for run in runs), transitions=fires), NOW)
        over = transition("r1", occurrence="t1", before=Phase.FIRING, after=Phase.RESOLVED, at=LATER)
        state.commit(Outcome(transitions=(over,)), LATER)
        assert ["r2"] == [alert.run_id for alert in state.alerts()]

    def test_a_row_has_the_columns_that_users_see(self, state: State) -> None:
        """Exactly those of the model, times as ISO strings."""
        state.commit(Outcome(transitions=(transition("r1", value=2.5, labels={"a": 1}),)), LATER)
        state.put_deliveries([delivery("d1")], [], LATER)
        alert, note = (m.row for m in state.mirror_after(0))
        assert {c.name for c in ALERTS} == set(alert)
        assert {c.name for c in NOTIFICATIONS} == set(note)
        assert {
            "Time": "2026-03-01T13:00:00.123456Z",
            "T": "2026-03-01T12:00:00.123456Z",
            "Rule": "run-failed",
            "Instance": {"RunId": "r1"},
            "Occurrence": "o-r1",
            "From": "",
            "To": "fired",
            "Reason": "first occurrence",
            "Severity": "error",
            "Value": 2.5,
            "Labels": {"a": 1},
            "RunId": "r1",
            "AlertId": alert_id("run-failed", instance_key({"RunId": "r1"}), "o-r1"),
            "CommitSeq": 7,
        } == alert
        assert {
            "Time": "2026-03-01T13:00:00.123456Z",
            "Delivery": "d1",
            "Channel": "email",
            "Address": ANNA,
            "Receiver": "owner",
            "Group": "run:r1",
            "Rules": ["run-failed"],
            "State": "ready",
            "Attempt": 0,
            "Reply": "",
            "Subject": "subject of d1",
            "MessageId": "<d1@tocsin>",
        } == note

    def test_what_a_person_does_with_an_alert_is_a_row(self, state: State) -> None:
        """Once: the second who acknowledges changed nothing, and is in no row."""
        state.commit(Outcome(intents=(intent("r1"),)), NOW)
        id_ = alert_id("run-failed", instance_key(intent("r1").instance), "o-r1")
        for by in ("anna", "bela"):
            state.act(Action(alert=id_, kind=ActionKind.ACKNOWLEDGE, by=by, at=NOW, via="page"))
        state.act(Action(alert=id_, kind=ActionKind.SNOOZE, by="bela", at=LATER, until=LATER + HOUR, via="cli"))
        first, second = (m.row for m in state.mirror_after(0) if m.table == "Actions")
        assert {
            "Time": "2026-03-01T12:00:00.123456Z",
            "By": "anna",
            "Via": "page",
            "Kind": "acknowledge",
            "AlertId": id_,
            "Rule": "run-failed",
            "RunId": "r1",
            "Until": None,
            "Text": "",
        } == first
        assert ("bela", "snooze", "2026-03-01T14:00:00.123456Z") == (second["By"], second["Kind"], second["Until"])

    def test_who_sets_and_who_ends_a_silence_are_rows(self, state: State) -> None:
        """Each by whom it was, which may be two."""
        silence = StoredSilence(
            id="s1",
            matchers='rule="run-failed"',
            start=NOW,
            end=LATER + HOUR,
            by="anna",
            comment="known",
            created_at=NOW,
        )
        state.put_silence(silence, Deed(by="anna", via="api", at=NOW))
        state.put_silence(replace(silence, end=LATER), Deed(by="bela", via="cli", at=LATER))
        rows = [m.row for m in state.mirror_after(0)]
        assert [
            ("silence", "anna", "api", "2026-03-01T14:00:00.123456Z"),
            ("expire", "bela", "cli", "2026-03-01T13:00:00.123456Z"),
        ] == [(row["Kind"], row["By"], row["Via"], row["Until"]) for row in rows]
        assert {("s1", 'rule="run-failed"', "known")} == {(r["Id"], r["Matchers"], r["Text"]) for r in rows}

    @pytest.mark.parametrize("kind", list(PreferenceKind))
    def test_who_sets_and_who_ends_a_preference_are_rows(self, state: State, kind: PreferenceKind) -> None:
        """A subscription or a mute."""
        wanted = Preference(id="p1", kind=kind, address=ANNA, matchers='rule="r"', at=NOW, by="anna", via="page")
        state.put_preference(wanted)
        state.put_preference(replace(wanted, ended_at=LATER), Deed(by="bela", via="api", at=LATER))
        rows = [m.row for m in state.mirror_after(0)]
        assert [(kind.value, "anna", "page"), (f"un{kind.value}", "bela", "api")] == [
            (row["Kind"], row["By"], row["Via"]) for row in rows
        ]
        assert {(ANNA, "p1")} == {(row["Address"], row["Id"]) for row in rows}
        assert all(row.keys() <= {c.name for c in ACTIONS} for row in rows)

    def test_pruning_forgets_what_is_mirrored_and_old(self, state: State) -> None:
        """Not what waits, not what is young; numbers are never given again."""
        state.commit(
            Outcome(
                intents=(intent("r1"), intent("r2"), intent("r3", rule_version="v2")),
                infos=(
                    RuleInfo(name="run-failed", version="v1", summary=""),
                    RuleInfo(name="run-failed", version="v2", summary=""),
                ),
                transitions=(transition("r1"),),
            ),
            NOW,
        )
        assert state.info("v2") is not None
        done, waits = delivery("done", intents=(intent("r1").id,)), delivery("waits")
        held = delivery("held", state=DeliveryState.HELD)
        state.put_deliveries([done, waits, held], [intent("r1").id, intent("r3").id], NOW)
        state.attempted([attempted("done")])
        state.prune(mirrored=state.mirror_seq(), now=NOW + timedelta(days=400), keep=timedelta(days=400))
        assert {"done", "waits", "held"} == {d.id for d in state.deliveries()}
        assert [] == state.mirror_after(0)
        state.prune(mirrored=0, now=NOW + timedelta(days=400, seconds=2), keep=timedelta(days=400))
        assert {"waits", "held"} == {d.id for d in state.deliveries()}
        assert [] == state.notified_addresses("run-failed", instance_key(intent("r1").instance), "o-r1")
        assert ["r2"] == [i.run_id for i in state.intents()]
        assert state.info("v1") is not None
        state.commit(Outcome(transitions=(transition("r4"),)), NOW)
        assert [6] == [m.seq for m in state.mirror_after(0)]


class OnCallContract:
    """What reports read."""

    def test_history_has_what_fired_what_people_did_and_what_was_sent(self, state: State) -> None:
        """From a time on; of messages those that were accepted and say more than an end."""
        old, fired = intent("r0", at=NOW - HOUR), intent("r1")
        ended = intent("r1", kind=IntentKind.RESOLVED, at=LATER)
        state.commit(Outcome(intents=(old, fired, ended)), NOW)
        page = delivery("page", intents=(fired.id,), group="escalation/page/x/1", receiver="page")
        waits, over = delivery("waits", intents=(fired.id,)), delivery("over", intents=(ended.id,))
        state.put_deliveries([page, waits, over], [fired.id, ended.id], NOW)
        state.attempted([attempted("page"), attempted("over")])
        id_ = alert_id("run-failed", instance_key(fired.instance), fired.occurrence)
        state.act(Action(alert=id_, kind=ActionKind.ACKNOWLEDGE, by="anna", at=LATER, via="cli"))
        found = state.oncall_history(NOW)
        assert [(id_, "run-failed", NOW, None)] == [(a.id, a.rule, a.fired_at, a.ended_at) for a in found.alerts]
        assert [(id_, "acknowledge", "anna", LATER)] == [(a.alert, a.kind, a.by, a.at) for a in found.actions]
        assert [("escalation/page/x/1", "page", ANNA, "run-failed", NOW)] == [
            (m.group, m.receiver, m.address, m.rule, m.created_at) for m in found.messages
        ]
        assert ([], []) == (state.oncall_history(LATER).alerts, state.oncall_history(LATER).messages)


class StateContract(EvaluationContract, OutboxContract, MirrorContract, OnCallContract):
    """All of it, and what holds for the store as a whole."""

    def test_nothing_of_a_failed_outcome_is_kept(self, state: State) -> None:
        """All or nothing: the fault is in what is written last."""
        state.commit(Outcome(row_cursor=1), NOW)
        broken = transition("r1", commit_seq=None, labels={"x": _Unwritable()})
        with pytest.raises(Exception, match="cannot be written"):
            state.commit(
                Outcome(row_cursor=2, occurrences=(occurrence("r1"),), intents=(intent("r1"),), transitions=(broken,)),
                NOW,
            )
        assert (1, [], {}, 0) == (
            state.row_cursor(),
            state.intents(),
            state.rules_notified_of(["r1"]),
            state.mirror_seq(),
        )
        state.commit(Outcome(row_cursor=2), NOW)
        assert 2 == state.row_cursor()

    def test_threads_work_at_once(self, state: State) -> None:
        """Evaluator, notify and mirror never see half a transaction, and lose nothing."""
        rounds = 8

        def evaluate(name: str) -> None:
            for i in range(rounds):
                state.commit(Outcome(intents=(intent(f"{name}{i}"),), transitions=(transition(f"{name}{i}"),) * 2), NOW)

        def group() -> None:
            done = 0
            while done < 2 * rounds:
                for found in state.intents():
                    id = f"d-{found.run_id}"
                    state.put_deliveries([delivery(id, intents=(found.id,))], [found.id], NOW)
                    state.attempted([attempted(id)])
                    done += 1

        def mirror() -> None:
            seen = 0
            while seen < 2 * rounds * 4:
                rows = state.mirror_after(seen)
                assert list(range(seen + 1, seen + 1 + len(rows))) == [m.seq for m in rows]
                seen += len(rows)

        with ThreadPoolExecutor() as pool:
            for work in [pool.submit(f) for f in (lambda: evaluate("a"), lambda: evaluate("b"), group, mirror)]:
                work.result(60)
        assert 2 * rounds == state.outbox_stats()["sent"]

    def test_closed_twice_is_closed(self, state: State) -> None:
        """A second close does nothing; any other call says that it is closed."""
        state.close()
        state.close()
        with pytest.raises(StoreError, match="closed"):
            state.row_cursor()


class _Unwritable:
    def __str__(self) -> str:
        raise RuntimeError("cannot be written")
