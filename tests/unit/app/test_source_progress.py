"""When sources could not be reached, and the one alert of a source that is silent."""

from datetime import UTC, datetime, timedelta

from tocsin.alerts.conditions import REPEAT
from tocsin.app.engine import stalled as silence
from tocsin.app.engine.stalled import SourceState
from tocsin.app.engine.watermarks import SourceOutages, spans_of
from tocsin.clock import ManualClock
from tocsin.model.alert import Why
from tocsin.model.intent import IntentKind
from tocsin.state.interface import Outcome
from tocsin.state.sqlite import SqliteState

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
MIN = timedelta(minutes=1)


def state() -> SqliteState:
    return SqliteState.open(None, clock=ManualClock(NOON))


def test_an_outage_and_its_grace_are_unreachable() -> None:
    """From when intake was last up until the watermark is near again."""
    source_outages = SourceOutages("kafka", state(), NOON)
    source_outages.note(NOON + 40 * MIN, None)
    source_outages.note(NOON + 60 * MIN, NOON + 41 * MIN)
    assert 0 == len(source_outages.spans)
    source_outages.note(NOON + 61 * MIN, NOON + 61 * MIN)
    assert source_outages.spans == ((NOON, NOON + 61 * MIN),)


def test_a_broker_that_is_away_is_unreachable_and_a_restart_remembers_it() -> None:
    notes = state()
    source_outages = SourceOutages("kafka", notes, NOON)
    source_outages.note(NOON, NOON)
    source_outages.note(NOON + 5 * MIN, NOON + 4 * MIN)
    source_outages.note(NOON + 9 * MIN, NOON + 9 * MIN)
    source_outages.note(NOON + 20 * MIN, NOON + 15 * MIN)
    again = SourceOutages("kafka", notes, NOON + 20 * MIN)
    again.note(NOON + 30 * MIN, NOON + 30 * MIN)
    assert again.spans == ((NOON + 4 * MIN, NOON + 9 * MIN), (NOON + 15 * MIN, NOON + 30 * MIN))


def test_what_is_long_over_is_forgotten() -> None:
    source_outages = SourceOutages("kafka", state(), NOON)
    source_outages.note(NOON + MIN, NOON + MIN)
    later = NOON + timedelta(days=9)
    source_outages.note(later, later - 5 * MIN)
    source_outages.note(later + MIN, later + MIN)
    assert source_outages.spans == ((later - 5 * MIN, later + MIN),)


def test_a_backtest_knows_what_rules_need_no_more() -> None:
    notes = state()
    source_outages = SourceOutages("kafka", notes, NOON)
    source_outages.note(NOON + MIN, NOON + MIN)
    later = NOON + timedelta(days=100)
    source_outages.note(later, later - 5 * MIN)
    known = ((NOON, NOON + MIN), (later - 5 * MIN, later + MIN))
    assert spans_of("kafka", notes, later + MIN) == known
    source_outages.note(later + MIN, later + MIN)
    assert (source_outages.spans, spans_of("kafka", notes, later + 9 * MIN)) == (known[1:], known)
    assert spans_of("http", notes, later) == ()


class World:
    """A state, and sources that are evaluated."""

    def __init__(self) -> None:
        self.state = state()
        self.outcomes: list[Outcome] = []

    def evaluate(self, at: datetime, **sources: SourceState) -> None:
        outcome = silence.evaluate_sources(sources, self.state.conditions(silence.RULE), at, 7)
        if outcome is not None:
            self.state.commit(outcome, at)
            self.outcomes.append(outcome)

    def notified(self, kind: IntentKind) -> list[Why]:
        return [i.why for o in self.outcomes for i in o.intents if i.kind is kind]


def source(last: datetime, now: datetime, *, spoke: bool = True) -> SourceState:
    return SourceState(silent=now > last + 15 * MIN, spoke=spoke, last_event=last, every=15 * MIN)


def test_a_silent_source_is_one_alert_that_ends_when_it_speaks() -> None:
    world = World()
    for minute in range(60):
        now = NOON + minute * MIN
        world.evaluate(now, hook=source(NOON, now), fine=source(now, now))
    assert world.notified(IntentKind.FIRED) == [Why.DEADLINE]
    (notified,) = world.outcomes[0].intents
    assert (notified.instance, notified.at) == ({"Consumer": "hook"}, NOON + 16 * MIN)
    assert notified.fields == {"LastEvent": "2026-01-05 12:00:00 UTC", "Every": "15m"}
    world.evaluate(NOON + 61 * MIN, hook=source(NOON + 61 * MIN, NOON + 61 * MIN))
    assert world.notified(IntentKind.RESOLVED) == [Why.RECOVERED]
    assert world.state.conditions(silence.RULE) == {}


def test_a_restart_does_not_end_it() -> None:
    """The promise counts from our start again, but the source has not spoken."""
    world = World()
    world.evaluate(NOON + 20 * MIN, hook=source(NOON, NOON + 20 * MIN))
    started = NOON + 30 * MIN
    world.evaluate(started, hook=source(started, started, spoke=False))
    assert world.notified(IntentKind.RESOLVED) == []
    world.evaluate(NOON + 20 * MIN + REPEAT, hook=source(started, NOON + 20 * MIN + REPEAT, spoke=False))
    assert world.notified(IntentKind.REPEATED) == [Why.STILL_FIRING]


def test_a_source_that_is_gone_ends_without_a_notification() -> None:
    world = World()
    world.evaluate(NOON + 20 * MIN, hook=source(NOON, NOON + 20 * MIN))
    world.evaluate(NOON + 21 * MIN)
    assert world.notified(IntentKind.RESOLVED) == []
    assert [t.reason for o in world.outcomes for t in o.transitions] == [Why.DEADLINE, Why.RULE_CHANGED]
    assert world.state.conditions(silence.RULE) == {}
