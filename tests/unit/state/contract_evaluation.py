"""What every state store must do for the evaluator."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from tests.unit.state.builders import (
    ANNA,
    LATER,
    NOW,
    backfill,
    condition,
    intent,
    occurrence,
    record,
    timer,
    transition,
)
from tocsin.model.alert import Phase
from tocsin.model.instants import Instant
from tocsin.model.intent import RuleInfo
from tocsin.model.remembered import Life, Remembered, Row
from tocsin.state.interface import Outcome, State


class EvaluationContract:
    """The evaluator's side."""

    def test_a_new_store_remembers_nothing(self, state: State) -> None:
        """Every question has an answer before anything was written."""
        assert state.pair_id == ""
        assert (0, None, 0, 0) == (state.row_cursor(), state.timer_t(), state.max_cursor(), state.mirror_seq())
        assert ({}, {}, [], []) == (state.rules(), state.conditions("r"), state.timers(), state.backfills())
        assert ([], None, [], None) == (state.intents(), state.next_due(), state.due(NOW), state.delivery("d"))
        assert ([], [], {}, []) == (
            state.deliveries(),
            list(state.sent_lately(NOW, 100)),
            state.threads([(ANNA, "g")]),
            state.notified_addresses("r", "{}", ""),
        )

    def test_an_outcome_reads_back(self, state: State) -> None:
        """Everything in an outcome is there after its commit, equal to what was written."""
        rule = record("run-failed", cursor=Instant(at=NOW, timer=True, commit_seq=5))
        seen = condition(
            {"Team": "ml", "n": 1},
            value=0.1,
            data=Remembered(life=Life(ticks="101", fired=NOW), limit=True, row=Row(key="k", labels={"n": 1})),
        )
        info = RuleInfo(
            name="run-failed",
            version="v1",
            summary="{{ RunId }}",
            annotations={"a": "b"},
            notify_to=("owner",),
            final=True,
        )
        state.commit(
            Outcome(
                row_cursor=9,
                rules=(rule, record("cost")),
                occurrences=(occurrence("r1"),),
                conditions=(seen,),
                timers=(timer("b", LATER), timer("a")),
                backfills=(backfill("kafka"),),
                transitions=(transition("r1"),),
                intents=(intent("r1"),),
                infos=(info,),
                timer_t=NOW,
            ),
            NOW,
        )
        assert 9 == state.row_cursor()
        assert {"run-failed": rule, "cost": record("cost")} == state.rules()
        assert {("run-failed", "r1"): [occurrence("r1")]} == state.notified([("run-failed", "r1"), ("cost", "r1")])
        assert {seen.key: seen} == state.conditions("cost")
        assert [timer("a"), timer("b", LATER)] == state.timers()
        assert [backfill("kafka")] == state.backfills()
        assert [intent("r1")] == state.intents()
        assert info == state.info("v1")
        assert state.info("v2") is None
        assert NOW == state.timer_t()

    def test_instances_are_counted_by_rule_and_phase(self, state: State) -> None:
        """``phases`` says of every rule that remembers something how much it remembers."""
        assert {} == state.phases()
        known = [condition({"n": n}, phase=Phase.FIRING if n < 3 else Phase.PENDING) for n in range(5)]
        state.commit(Outcome(conditions=(*known, replace(known[0], rule="other"))), NOW)
        assert {"cost": {Phase.FIRING: 3, Phase.PENDING: 2}, "other": {Phase.FIRING: 1}} == state.phases()

    def test_what_an_outcome_does_not_name_stays(self, state: State) -> None:
        """An empty outcome changes nothing."""
        state.commit(Outcome(row_cursor=4, rules=(record("a"),), timers=(timer("k"),), timer_t=NOW), NOW)
        state.commit(Outcome(), LATER)
        assert (4, NOW, 1, 1) == (state.row_cursor(), state.timer_t(), len(state.rules()), len(state.timers()))

    def test_put_replaces(self, state: State) -> None:
        """Rules, conditions, timers and backfills are replaced by their key."""
        for phase, due, count in ((Phase.PENDING, NOW, 1), (Phase.FIRING, LATER, 2)):
            state.commit(
                Outcome(
                    rules=(record("run-failed", start_seq=count),),
                    conditions=(condition({"Team": "ml"}, phase=phase),),
                    timers=(timer("k", due),),
                    backfills=(backfill("kafka", count),),
                ),
                NOW,
            )
        assert [2] == [r.start_seq for r in state.rules().values()]
        assert [Phase.FIRING] == [c.phase for c in state.conditions("cost").values()]
        assert [LATER] == [t.due for t in state.timers()]
        assert [2] == [c.count for c in state.backfills()]

    def test_what_is_gone_is_forgotten(self, state: State) -> None:
        """Only what is named goes."""
        ml, ops = condition({"Team": "ml"}), condition({"Team": "ops"})
        state.commit(
            Outcome(
                conditions=(ml, ops), timers=(timer("a"), timer("b")), backfills=(backfill("kafka"), backfill("http"))
            ),
            NOW,
        )
        state.commit(
            Outcome(
                conditions_gone=(("cost", ml.key),),
                timers_gone=(("run-failed", "final_after", "a"), ("run-failed", "for", "b")),
                backfills_gone=(("run-failed", "kafka"),),
            ),
            NOW,
        )
        assert [ops.key] == list(state.conditions("cost"))
        assert ["b"] == [t.key for t in state.timers()]
        assert ["http"] == [c.consumer for c in state.backfills()]

    def test_a_removed_rule_leaves_nothing_but_its_intents(self, state: State) -> None:
        """What it notified stays notified: an intent written is still delivered."""
        state.commit(
            Outcome(
                rules=(record("run-failed"), record("kept")),
                occurrences=(occurrence("r1"), occurrence("r1", "kept")),
                timers=(timer("k"), timer("k", rule="kept")),
                backfills=(backfill("kafka"),),
                conditions=(condition({}, "run-failed"),),
                intents=(intent("r1"),),
            ),
            NOW,
        )
        state.commit(Outcome(rules_gone=("run-failed",)), NOW)
        assert ["kept"] == list(state.rules())
        assert {"r1": frozenset({"kept"})} == state.rules_notified_of(["r1"])
        assert ["kept"] == [t.rule for t in state.timers()]
        assert ({}, []) == (state.conditions("run-failed"), state.backfills())
        assert ["run-failed"] == [i.rule for i in state.intents()]

    def test_a_renamed_rule_keeps_what_it_notified(self, state: State) -> None:
        """`was: old-name` keeps cursor and state, and a put in the same outcome is of the new name."""
        seen = condition({"Team": "ml"}, "old", phase=Phase.FIRING)
        state.commit(
            Outcome(
                rules=(record("old", start_seq=5),),
                occurrences=(occurrence("r1", "old"),),
                conditions=(seen,),
                timers=(timer("k", rule="old"),),
                intents=(intent("r1", "old"),),
            ),
            NOW,
        )
        state.commit(
            Outcome(rules_renamed=(("old", "new"),), conditions=(replace(seen, rule="new", since=LATER),)), LATER
        )
        assert {"new": record("new", start_seq=5)} == state.rules()
        assert {"r1": frozenset({"new"})} == state.rules_notified_of(["r1"])
        assert [replace(seen, rule="new", since=LATER)] == list(state.conditions("new").values())
        assert [timer("k", rule="new")] == state.timers()

    def test_an_occurrence_is_remembered_as_first_notified(self, state: State) -> None:
        """A replayed evaluation does not move it."""
        state.commit(Outcome(occurrences=(occurrence("r1"),)), NOW)
        state.commit(Outcome(occurrences=(occurrence("r1", at=LATER, commit_seq=99),)), LATER)
        assert [occurrence("r1")] == state.notified([("run-failed", "r1")])[("run-failed", "r1")]

    def test_an_end_that_was_counted_is_remembered_with_it(self, state: State) -> None:
        state.commit(Outcome(occurrences=(occurrence("r1"),)), NOW)
        closed = occurrence("r1", phase=Phase.CLOSED)
        state.commit(Outcome(occurrences=(replace(closed, at=LATER, commit_seq=99),)), LATER)
        assert [closed] == state.notified([("run-failed", "r1")])[("run-failed", "r1")]

    def test_occurrences_of_a_run_come_in_event_time_order(self, state: State) -> None:
        """Notified and expired alike, whatever the order of writing."""
        expired = occurrence("r1", n=1, phase=Phase.EXPIRED)
        state.commit(Outcome(occurrences=(occurrence("r1", n=2), expired, occurrence("r1", n=0))), NOW)
        notified = state.notified([("run-failed", "r1")])[("run-failed", "r1")]
        assert [occurrence("r1", n=0), expired, occurrence("r1", n=2)] == notified

    def test_rules_notified_of_answers_for_thousands(self, state: State) -> None:
        """By run; runs without any are left out; hostile ids are only text."""
        ids = ["r'1", 'r"2', "r,3", "r\\4", "ő5", "", "[6]", "7"]
        state.commit(Outcome(occurrences=tuple(occurrence(i, r) for i in ids for r in ("a", "b"))), NOW)
        asked = [*ids, *(f"unknown-{i}" for i in range(20_000)), *ids]
        assert dict.fromkeys(ids, frozenset({"a", "b"})) == state.rules_notified_of(asked)
        assert {} == state.rules_notified_of([])
        assert {} == state.notified([])
        assert set(ids) == {run for _, run in state.notified([("a", i) for i in asked])}

    def test_an_intent_replayed_is_left_as_it_is(self, state: State) -> None:
        """Same id: the first one stays, also when a delivery has consumed it."""
        state.commit(Outcome(intents=(intent("r1", value=1.0),)), NOW)
        state.commit(Outcome(intents=(intent("r1", value=2.0), intent("r2"))), NOW)
        assert [1.0, None] == [i.value for i in state.intents()]
        state.put_deliveries([], [intent("r1").id], NOW)
        state.commit(Outcome(intents=(intent("r1", value=3.0),)), NOW)
        assert ["r2"] == [i.run_id for i in state.intents()]

    def test_an_intent_keeps_its_id(self, state: State) -> None:
        """Whatever its instance is made of: the grouper consumes by an id computed again."""
        instances: list[dict[str, object]] = [
            {"Team": "Ågnes", "n": 1, "x": 1.0, "none": None, "yes": True},
            {"At": datetime(2026, 1, 1, tzinfo=UTC), "deep": {"b": [1], "a": 2}},
            {"nan": float("nan"), "big": 2**70},
        ]
        written = [intent("r1", instance=i) for i in instances]
        state.commit(Outcome(intents=tuple(written)), NOW)
        assert [i.id for i in written] == [i.id for i in state.intents()]
        assert [i.head for i in written[:2]] == state.intent_heads(2)
        state.put_deliveries([], [i.id for i in state.intents()], NOW)
        assert [] == state.intents()

    def test_whatever_a_rule_carries_can_be_written(self, state: State) -> None:
        """Values that JSON or a database refuses must not stop the evaluator for ever: they are replaced."""
        odd = {"nan": float("nan"), "surrogate": "a\ud800b", "when": NOW, "big": 2**70, "set": frozenset({1})}
        state.commit(
            Outcome(intents=(intent("r1", event=odd, rows=(odd,)),), transitions=(transition("r1", labels=odd),)), NOW
        )
        event = state.intents()[0].event
        assert (None, "a?b") == (event["nan"], event["surrogate"])
        assert "a?b" == state.mirror_after(0)[0].row["Labels"]["surrogate"]  # type: ignore[index]

    def test_a_timer_instant_never_goes_back(self, state: State) -> None:
        """A commit stamped at or before it would be unseen."""
        state.commit(Outcome(timer_t=LATER), NOW)
        state.commit(Outcome(timer_t=NOW), NOW)
        assert LATER == state.timer_t()

    def test_times_are_exact_and_utc(self, state: State) -> None:
        """To the microsecond, whatever zone they were written in, also far from now."""
        for t in (datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, 23, 59, 59, 999999, tzinfo=UTC), NOW):
            elsewhere = t.astimezone(timezone(timedelta(hours=9)))
            state.commit(Outcome(conditions=(condition({}, since=elsewhere),)), NOW)
            assert t == state.conditions("cost")["{}"].since
            assert state.conditions("cost")["{}"].since.tzinfo is UTC

    def test_the_greatest_cursor_counts_every_record(self, state: State) -> None:
        """The shared cursor, a rule's own cursor, a rule's start: the log store must reach all of them."""
        state.commit(Outcome(row_cursor=3), NOW)
        assert 3 == state.max_cursor()
        state.commit(Outcome(rules=(record("a", cursor=Instant(at=NOW, timer=False, commit_seq=8)),)), NOW)
        assert 8 == state.max_cursor()
        state.commit(Outcome(rules=(record("b", start_seq=12),)), NOW)
        assert 12 == state.max_cursor()

    def test_adopting_moves_all_to_the_head(self, state: State) -> None:
        """Nothing old is notified; what was notified stays notified; mirror rows go on beyond the log's."""
        lagging = record("a", start_seq=90, cursor=Instant(at=NOW, timer=True, commit_seq=80))
        state.commit(
            Outcome(
                row_cursor=100,
                rules=(lagging, record("b", start_seq=1)),
                timers=(timer("k"),),
                backfills=(backfill("kafka"),),
                occurrences=(occurrence("r1"),),
                transitions=(transition("r1"),),
            ),
            NOW,
        )
        state.adopt(50, 40, "pair")
        assert (50, 50, "pair") == (state.row_cursor(), state.max_cursor(), state.pair_id)
        assert {"a": 50, "b": 50} == {r.name: r.start_seq for r in state.rules().values()}
        assert Instant(at=NOW, timer=True, commit_seq=50) == state.rules()["a"].cursor
        assert ([], []) == (state.timers(), state.backfills())
        assert ["r1"] == list(state.rules_notified_of(["r1"]))
        state.commit(Outcome(transitions=(transition("r2"),)), NOW)
        assert [41] == [m.seq for m in state.mirror_after(40)]
        state.adopt(50, 2)
        assert (41, "pair") == (state.mirror_seq(), state.pair_id)

    def test_the_pair_id_and_small_values_are_kept(self, state: State) -> None:
        """Put again replaces."""
        state.set_pair_id("p1")
        for value in ("1", "2 ő\n"):
            state.put("key", value)
        assert ("p1", "2 ő\n", None) == (state.pair_id, state.get("key"), state.get("other"))
