"""What every state store must do for notify."""

from collections import Counter
from dataclasses import replace
from typing import Any

from tests.unit.state.builders import (
    ANNA,
    BELA,
    HOUR,
    LATER,
    MINUTE,
    NOW,
    SECOND,
    attempted,
    delivery,
    intent,
    states_of,
)
from tocsin.model.active import Preference, PreferenceKind
from tocsin.model.alert import instance_key
from tocsin.model.delivery import DeliveryState, Endpoint, Notified
from tocsin.model.intent import IntentKind
from tocsin.state.interface import Outcome, State


class OutboxContract:
    """Notify's side."""

    def test_intents_come_oldest_first_until_consumed(self, state: State) -> None:
        """In the order of writing."""
        names = [f"r{i}" for i in (3, 1, 2)]
        state.commit(Outcome(intents=tuple(intent(n) for n in names)), NOW)
        assert names[:2] == [i.run_id for i in state.intents(limit=2)]
        state.put_deliveries([delivery("d1", intents=(intent("r3").id,))], [intent("r3").id], NOW)
        assert ["r1", "r2"] == [i.run_id for i in state.intents()]
        assert 2 == state.outbox_stats()["intents"]

    def test_who_unsubscribes_is_kept_until_it_is_undone(self, state: State) -> None:
        """It stays after its end, until it is as old as other history."""
        given: dict[str, Any] = {
            "kind": PreferenceKind.MUTE,
            "matchers": 'rule="run-failed"',
            "by": "anna",
            "via": "link",
        }
        mute = Preference(id="p1", address=ANNA, at=NOW, **given)
        other = Preference(id="p2", address=BELA, at=LATER, until=LATER + MINUTE, **given)
        for each in (mute, mute, other):
            state.put_preference(each)
        assert [mute, other] == list(state.preferences())
        ended = replace(mute, ended_at=LATER)
        state.put_preference(ended)
        assert [ended, other] == list(state.preferences())
        assert [True, False, True, False] == [
            mute.holds(LATER), ended.holds(LATER), other.holds(LATER), other.holds(LATER + MINUTE)
        ]  # fmt: skip
        state.prune(mirrored=0, now=LATER + HOUR, keep=HOUR - MINUTE)
        assert [other] == list(state.preferences())

    def test_a_delivery_reads_back(self, state: State) -> None:
        """Byte-equal, with all its fields."""
        whole = delivery(
            "d1",
            rules=("a", "b"),
            attempt=2,
            reply="451 later",
            run_id="r1",
            event_time=NOW - MINUTE,
            ingested_at=NOW - SECOND,
            covers=2,
            message=bytes(range(256)) * 100,
            intents=("i1", "i2"),
        )
        state.put_deliveries([whole], [], NOW)
        assert whole == state.delivery("d1")
        assert [whole] == state.due(NOW)
        assert [whole] == state.deliveries()

    def test_states_of_deliveries_by_their_ids(self, state: State) -> None:
        """Whatever their group; what is unknown is left out."""
        state.put_deliveries([delivery("d1", group="a"), delivery("d2", group="b"), delivery("d3")], [], NOW)
        state.attempted([attempted("d2", DeliveryState.FAILED)])
        found = {"d1": DeliveryState.READY, "d2": DeliveryState.FAILED}
        assert found == state.states_of(["d1", "d2", "d4"])
        assert {} == state.states_of([])

    def test_who_was_notified_of_a_group(self, state: State) -> None:
        """Once each, with the first message; those whom nothing reached are left out."""
        state.put_deliveries(
            [
                delivery("d1", group="g", subject="first", address=ANNA),
                delivery("d2", group="g", subject="second", address=ANNA),
                delivery("d3", group="g", address=BELA),
                delivery("d4", group="other", address=BELA),
            ],
            [],
            NOW,
        )
        state.attempted([attempted("d3", DeliveryState.FAILED)])
        assert [(ANNA, "first")] == [(n.address, n.subject) for n in state.notified_group("g")]

    def test_a_known_delivery_is_left_as_it_is(self, state: State) -> None:
        """Also where the same id comes twice in one call, and no second mirror row is written."""
        first = delivery("d1", subject="first")
        state.put_deliveries([first, delivery("d1", subject="second")], [], NOW)
        state.attempted([attempted("d1")])
        state.put_deliveries([delivery("d1", subject="third"), delivery("d2")], [], NOW)
        found = state.delivery("d1")
        assert found is not None
        assert ("first", DeliveryState.SENT) == (found.subject, found.state)
        assert [("d1", "ready", 0), ("d1", "sent", 1), ("d2", "ready", 0)] == states_of(state)

    def test_due_is_what_is_ready_and_its_time_has_come(self, state: State) -> None:
        """Oldest first, those under way left out, finished and held ones never."""
        state.put_deliveries(
            [
                delivery("late", next_at=NOW + SECOND),
                delivery("b", next_at=NOW - SECOND),
                delivery("a", next_at=NOW - SECOND),
                delivery("old", next_at=NOW - MINUTE),
                delivery("held", state=DeliveryState.HELD, next_at=NOW - MINUTE),
                delivery("sent", state=DeliveryState.SENT, next_at=NOW - MINUTE),
            ],
            [],
            NOW,
        )
        assert ["old", "b", "a"] == [d.id for d in state.due(NOW)]
        assert ["b"] == [d.id for d in state.due(NOW, limit=1, exclude=["old"])]
        assert NOW - MINUTE == state.next_due()
        assert NOW + SECOND == state.next_due(exclude=["old", "b", "a"])
        assert state.next_due(exclude=["old", "b", "a", "late"]) is None

    def test_an_attempt_moves_a_delivery(self, state: State) -> None:
        """Retried, then sent; each change a row of Notifications."""
        state.put_deliveries([delivery("d1")], [], NOW)
        state.attempted([attempted("d1", DeliveryState.READY, 1, reply="451 busy", next_at=LATER)])
        assert ([], LATER) == (state.due(NOW), state.next_due())
        state.attempted([attempted("d1", attempt=2, at=LATER)])
        found = state.delivery("d1")
        assert found is not None
        assert (DeliveryState.SENT, 2, "250 2.0.0 Ok") == (found.state, found.attempt, found.reply)
        assert [("d1", "ready", 0), ("d1", "ready", 1), ("d1", "sent", 2)] == states_of(state)

    def test_what_is_finished_stays_finished(self, state: State) -> None:
        """A late answer of a lost connection neither revives a mail nor counts twice."""
        state.put_deliveries([delivery("d1"), delivery("d2")], [], NOW)
        state.attempted([attempted("d1"), attempted("d2", DeliveryState.FAILED)])
        state.attempted(
            [attempted("d1", DeliveryState.READY, 2), attempted("d2", DeliveryState.SENT, 2), attempted("unknown")]
        )
        assert [] == state.due(LATER)
        assert [("d1", "sent", 1), ("d2", "failed", 1)] == states_of(state)[2:]

    def test_a_reply_may_be_any_bytes(self, state: State) -> None:
        """A server's answer decoded with surrogate escapes is kept, not refused: the mail was accepted."""
        state.put_deliveries([delivery("d1")], [], NOW)
        state.attempted([attempted("d1", reply=b"250 \xff\x00ok".decode("utf-8", "surrogateescape"))])
        found = state.delivery("d1")
        assert found is not None
        assert "250 ?\ufffdok" == found.reply
        assert "250 ?\ufffdok" == state.mirror_after(0)[-1].row["Reply"]

    def test_held_mails_are_dropped_with_their_summary(self, state: State) -> None:
        """One transaction; what is no longer held is left alone."""
        held = [delivery(f"h{i}", state=DeliveryState.HELD) for i in range(3)]
        state.put_deliveries([*held, delivery("plain")], [], NOW)
        assert {"h0", "h1", "h2"} == {d.id for d in state.deliveries(state=DeliveryState.HELD)}
        state.put_deliveries([delivery("summary")], [], LATER, listed=["h0", "h1", "plain", "unknown"])
        assert ["h2"] == [d.id for d in state.deliveries(state=DeliveryState.HELD)]
        assert {"plain", "summary"} == {d.id for d in state.due(LATER)}
        assert [("summary", "ready", 0), ("h0", "dropped", 0), ("h1", "dropped", 0)] == states_of(state)[4:]

    def test_deliveries_come_newest_first(self, state: State) -> None:
        """By state, address, and before a time, for pages."""
        for i in range(4):
            address = ANNA if i % 2 else BELA
            state.put_deliveries([delivery(f"d{i}", address=address, created_at=NOW + i * SECOND)], [], NOW)
        state.attempted([attempted("d0")])
        assert ["d3", "d2", "d1", "d0"] == [d.id for d in state.deliveries()]
        assert ["d3", "d2"] == [d.id for d in state.deliveries(limit=2)]
        assert ["d1", "d0"] == [d.id for d in state.deliveries(before=NOW + 2 * SECOND)]
        assert ["d3", "d1"] == [d.id for d in state.deliveries(address=ANNA)]
        assert ["d0"] == [d.id for d in state.deliveries(state=DeliveryState.SENT, address=BELA)]

    def test_the_cap_counts_what_was_mailed(self, state: State) -> None:
        """From `since` on, failures too; what is held or dropped is no mail."""
        for i, kind in enumerate(DeliveryState):
            state.put_deliveries([delivery(f"d{i}", state=kind)], [], NOW)
        state.put_deliveries([delivery("old", created_at=NOW - SECOND), delivery("bela", address=BELA)], [], NOW)
        assert {ANNA: 3, BELA: 1} == Counter(address for address, _ in state.sent_lately(NOW, 100))
        assert {ANNA: 4, BELA: 1} == Counter(address for address, _ in state.sent_lately(NOW - SECOND, 100))
        assert 2 == len(state.sent_lately(NOW, 2))

    def test_a_thread_begins_with_its_first_mail(self, state: State) -> None:
        """Of that group to that address; one that never went out begins none."""
        state.put_deliveries(
            [
                delivery("held", state=DeliveryState.HELD, created_at=NOW - MINUTE),
                delivery("failed", state=DeliveryState.FAILED, created_at=NOW - MINUTE),
                delivery("second", created_at=NOW + SECOND),
                delivery("first", created_at=NOW),
                delivery("other", group="run:r2", created_at=NOW - MINUTE),
            ],
            [],
            NOW,
        )
        asked = [(ANNA, "run:r1"), (BELA, "run:r1"), (ANNA, "run:r9")]
        assert {(ANNA, "run:r1"): ("<first@tocsin>", "subject of first")} == state.threads(asked)

    def test_a_resolved_mail_finds_who_got_the_firing_one(self, state: State) -> None:
        """By the intents that deliveries name, once for each address; failed and held ones got nothing."""
        fired, resolved = intent("r1"), intent("r1", kind=IntentKind.RESOLVED)
        state.commit(Outcome(intents=(fired, resolved, intent("r2"))), NOW)
        notified = {"intents": (fired.id, intent("r2").id)}
        state.put_deliveries(
            [
                delivery("d1", address=BELA, **notified),
                delivery("d2", address=BELA, **notified),
                delivery("d3", address=ANNA, receiver="ml", **notified),
                delivery("d4", address="c@example.org", state=DeliveryState.HELD, **notified),
                delivery("d5", address="d@example.org", intents=(resolved.id,)),
                delivery("d6", address="e@example.org", **notified),
            ],
            [fired.id],
            NOW,
        )
        state.attempted([attempted("d1"), attempted("d6", DeliveryState.FAILED)])
        key = instance_key(fired.instance)
        assert [
            Notified(BELA, "owner", "<d1@tocsin>", "subject of d1", "run-failed"),
            Notified(ANNA, "ml", "<d3@tocsin>", "subject of d3", "run-failed"),
        ] == state.notified_addresses("run-failed", key, fired.occurrence)
        assert [] == state.notified_addresses("run-failed", key, "another")
        assert [] == state.notified_addresses("other", key, fired.occurrence)

    def test_stats_say_how_full_the_outbox_is(self, state: State) -> None:
        """Counts by state, and since when the oldest waits."""
        state.put_deliveries([delivery(f"d{i}", created_at=NOW + i * SECOND) for i in range(4)], [], NOW)
        state.attempted([attempted("d0"), attempted("d1", DeliveryState.FAILED)])
        stats = state.outbox_stats()
        assert (2, 1, 1, 0, 0) == tuple(stats[k] for k in ("ready", "sent", "failed", "dropped", "held"))
        assert (NOW + 2 * SECOND).timestamp() == stats["oldest"]
        state.attempted([attempted("d2"), attempted("d3")])
        assert 0 == state.outbox_stats()["oldest"]

    def test_each_endpoint_has_its_own(self, state: State) -> None:
        """Mails of all receivers are one, any other channel is one a receiver."""
        state.put_deliveries(
            [
                delivery("m1"),
                delivery("m2", receiver="ops"),
                delivery("w1", channel="webhook", receiver="chat", next_at=NOW - SECOND),
                delivery("w2", channel="webhook", receiver="other", next_at=NOW + SECOND),
                delivery("s1", channel="slack", receiver="chat", state=DeliveryState.SENT),
            ],
            [],
            NOW,
        )
        chat, other = Endpoint("webhook", "chat"), Endpoint("webhook", "other")
        assert {Endpoint("email", ""), chat, other} == state.endpoints()
        assert ["m1", "m2"] == [d.id for d in state.due(NOW)]
        assert ["w1"] == [d.id for d in state.due(NOW, to=chat)]
        assert ([], NOW + SECOND) == (state.due(NOW, to=other), state.next_due(to=other))

    def test_what_is_ready_of_a_group_is_found(self, state: State) -> None:
        """Only what is ready, to the same address, in the order of writing."""
        state.put_deliveries(
            [
                delivery("sent", state=DeliveryState.SENT),
                delivery("elsewhere", address=BELA),
                delivery("first"),
                delivery("second"),
                delivery("third"),
            ],
            [],
            NOW,
        )
        assert ["first", "second", "third"] == [d.id for d in state.ready_with("second")]
